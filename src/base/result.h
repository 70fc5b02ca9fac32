#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/errc.h"

namespace holdfast {

// What went wrong, for a machine (`code`) and for a person (`detail`). The detail names the field,
// the value and the remedy.
struct [[nodiscard]] Error {
  Errc code;
  std::string detail;

  // "HF1001: nodes: 0 is not allowed; give at least 1"
  [[nodiscard]] std::string text() const { return std::string(code_of(code)) + ": " + detail; }
};

// A value, or the reason why there is none. For what can be expected to fail; a domain outcome
// (infeasible, not found) is a value of T instead.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::move(error)) {}  // NOLINT

  [[nodiscard]] bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() & {
    CHECK(ok());
    return std::get<T>(state_);
  }
  const T& value() const& {
    CHECK(ok());
    return std::get<T>(state_);
  }
  T&& value() && {
    CHECK(ok());
    return std::get<T>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  [[nodiscard]] const Error& error() const {
    CHECK(!ok());
    return std::get<Error>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] const Error& error() const {
    CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace holdfast

#define HF_CONCAT_INNER(a, b) a##b
#define HF_CONCAT(a, b) HF_CONCAT_INNER(a, b)

// HF_TRY(auto manifest, read_manifest(path)); returns the error to the caller, or binds the value.
#define HF_TRY(declaration, expression)                                                      \
  auto HF_CONCAT(hf_result_, __LINE__) = (expression);                                       \
  if (!HF_CONCAT(hf_result_, __LINE__).ok()) return HF_CONCAT(hf_result_, __LINE__).error(); \
  declaration = std::move(HF_CONCAT(hf_result_, __LINE__)).value()

// The same for Result<void>.
#define HF_TRY_VOID(expression) \
  if (auto hf_result_void = (expression); !hf_result_void.ok()) return hf_result_void.error()
