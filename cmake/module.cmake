# One function makes a room of the house: a static library with strict warnings, its headers checked
# to compile on their own, and a test program made of the *_test.cc files that stand beside the code.
#
#   hf_module(NAME core DEPS base model [SOURCES extra.cc ...] [EXCLUDE not_of_it.cc ...])
function(hf_module)
  cmake_parse_arguments(M "" "NAME" "DEPS;SOURCES;TEST_DEPS;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
  foreach(excluded IN LISTS M_EXCLUDE)
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${excluded})
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|bench|fuzz)\\.cc$|/main\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  if(sources OR M_SOURCES)
    add_library(${M_NAME} STATIC ${sources} ${M_SOURCES})
    set(scope PUBLIC)
  else()
    add_library(${M_NAME} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${M_NAME} ${scope} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${M_NAME} ${scope} ${M_DEPS})
  if(scope STREQUAL "PUBLIC")
    target_compile_options(${M_NAME} PRIVATE ${HF_WARNINGS})
  endif()
  # CMake's own check that every header compiles alone: target all_verify_interface_header_sets.
  target_sources(${M_NAME} ${scope} FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/src FILES ${headers})
  set_target_properties(${M_NAME} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)

  if(tests)
    add_executable(${M_NAME}_test ${tests})
    target_compile_options(${M_NAME}_test PRIVATE ${HF_WARNINGS})
    target_link_libraries(${M_NAME}_test PRIVATE ${M_NAME} ${M_TEST_DEPS} GTest::gtest_main GTest::gmock)
    add_test(NAME ${M_NAME} COMMAND ${M_NAME}_test)
  endif()
endfunction()

# Designated initializers leave the other members at their defaults on purpose.
set(HF_WARNINGS -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms of g++ 12 in std::string and std::variant when it optimizes (GCC bugs 105329, 105593).
  list(APPEND HF_WARNINGS -Wno-restrict -Wno-maybe-uninitialized)
endif()
