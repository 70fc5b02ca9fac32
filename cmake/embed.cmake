# Writes a source file that holds the content of other files, so that the program is one file:
#
#   hf_embed(python_files BASE ${PROJECT_SOURCE_DIR}/python FILES ${files})
#
# gives ${CMAKE_CURRENT_BINARY_DIR}/python_files.cc with std::span<const EmbeddedFile>
# python_files() (apps/embedded_file.h), paths relative to BASE. A change of a file runs this again.
function(hf_embed name)
  cmake_parse_arguments(EMBED "" "BASE" "FILES" ${ARGN})
  set(entries "")
  foreach(file IN LISTS EMBED_FILES)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(RELATIVE_PATH path ${EMBED_BASE} ${file})
    file(READ ${file} content)
    string(APPEND entries "    {\"${path}\", R\"embedded(${content})embedded\"},\n")
  endforeach()
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  file(WRITE ${output}.new "#include \"apps/embedded_file.h\"

namespace holdfast {

static constexpr EmbeddedFile kFiles[] = {
${entries}};
std::span<const EmbeddedFile> ${name}() { return kFiles; }

}  // namespace holdfast
")
  configure_file(${output}.new ${output} COPYONLY)  # untouched when nothing has changed
endfunction()
