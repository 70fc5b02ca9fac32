#include "base/errc.h"

namespace holdfast {

std::string_view code_of(Errc errc) {
  switch (errc) {
#define HF_ERRC_CASE(name, code, summary) \
  case Errc::name:                        \
    return code;
    HF_ERRC_TABLE(HF_ERRC_CASE)
#undef HF_ERRC_CASE
  }
  return "HF0000";
}

std::string_view summary_of(Errc errc) {
  switch (errc) {
#define HF_ERRC_CASE(name, code, summary) \
  case Errc::name:                        \
    return summary;
    HF_ERRC_TABLE(HF_ERRC_CASE)
#undef HF_ERRC_CASE
  }
  return "";
}

}  // namespace holdfast
