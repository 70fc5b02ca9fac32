#include "io/redfish.h"

#include <curl/curl.h>

#include <memory>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kAnswerMax = 1 << 20;

std::size_t keep(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto& text = *static_cast<std::string*>(to);
  if (text.size() + size * count > kAnswerMax) return 0;
  text.append(bytes, size * count);
  return size * count;
}

Result<std::string> call(const RedfishTarget& target, const std::string& path,
                         const std::string& body) {
  const std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)> curl(::curl_easy_init(),
                                                                   ::curl_easy_cleanup);
  if (curl == nullptr) return Error{Errc::kIo, "cannot make a connection"};
  const std::string url = target.url + path;
  std::string answer;
  char problem[CURL_ERROR_SIZE] = "";
  CURL* c = curl.get();
  ::curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
  ::curl_easy_setopt(c, CURLOPT_USERNAME, target.user.c_str());
  ::curl_easy_setopt(c, CURLOPT_PASSWORD, target.password.c_str());
  ::curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
  if (!target.ca.empty()) ::curl_easy_setopt(c, CURLOPT_CAINFO, target.ca.c_str());
  ::curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(target.patience.ms()));
  ::curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(c, CURLOPT_ERRORBUFFER, problem);
  ::curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
  ::curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
  const std::unique_ptr<curl_slist, decltype(&::curl_slist_free_all)> headers(
      ::curl_slist_append(nullptr, "Content-Type: application/json"), ::curl_slist_free_all);
  if (!body.empty()) {
    ::curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
    ::curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.c_str());
  }
  const CURLcode code = ::curl_easy_perform(c);
  if (code == CURLE_PEER_FAILED_VERIFICATION)
    return Error{Errc::kUnauthenticated, url + ": its certificate is not trusted: " + problem};
  if (code != CURLE_OK)
    return Error{Errc::kUnavailable,
                 url + ": " + (*problem != '\0' ? problem : ::curl_easy_strerror(code))};
  long status = 0;
  ::curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  if (status == 401 || status == 403)
    return Error{Errc::kUnauthenticated, url + ": it refuses user '" + target.user + "'"};
  if (status < 200 || status > 299)
    return Error{Errc::kUnavailable,
                 url + ": HTTP status " + std::to_string(status) + ": " + answer.substr(0, 200)};
  return answer;
}

Result<json> parse(std::string_view answer) {
  json parsed = parse_json_text(answer);
  if (!parsed.is_object())
    return Error{Errc::kUnparsable,
                 "its answer is no JSON object: '" + std::string(answer.substr(0, 100)) + "'"};
  return parsed;
}

// A path of the same controller, at this place of an answer.
Result<std::string> path_at(const json& answer, const char* pointer) {
  const json::json_pointer at(pointer);
  if (answer.contains(at) && answer[at].is_string()) {
    std::string path = answer[at].get<std::string>();
    if (path.starts_with("/")) return path;
  }
  return Error{Errc::kUnparsable, std::string("its answer has no path at ") + pointer};
}

}  // namespace

Result<std::string> read_redfish_systems(std::string_view answer) {
  HF_TRY(const json systems, parse(answer));
  return path_at(systems, "/Members/0/@odata.id");
}

Result<RedfishReset> read_redfish_system(std::string_view answer) {
  HF_TRY(const json system, parse(answer));
  HF_TRY(std::string path, path_at(system, "/Actions/#ComputerSystem.Reset/target"));
  return RedfishReset{std::move(path),
                      system.contains("PowerState") && system["PowerState"] == "Off"};
}

Result<void> redfish_restart(const RedfishTarget& target) {
  HF_TRY(const std::string systems, call(target, "/redfish/v1/Systems", ""));
  HF_TRY(const std::string path, read_redfish_systems(systems));
  HF_TRY(const std::string system, call(target, path, ""));
  HF_TRY(const RedfishReset reset, read_redfish_system(system));
  HF_TRY_VOID(
      call(target, reset.path, json{{"ResetType", reset.is_off ? "On" : "ForceRestart"}}.dump()));
  return {};
}

}  // namespace holdfast
