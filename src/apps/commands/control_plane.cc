#include "apps/commands/control_plane.h"

#include <charconv>
#include <chrono>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include "api/rest.h"
#include "apps/terminal.h"
#include "io/files.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::size_t kClientFileMax = 64 << 10;
constexpr auto kOutageMax = std::chrono::seconds(60);

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
};

// "https://127.0.0.1:7443"
std::optional<Endpoint> parse_endpoint(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  url.remove_prefix(kScheme.size());
  const std::size_t colon = url.rfind(':');
  if (colon == url.npos || colon == 0) return std::nullopt;
  Endpoint endpoint{std::string(url.substr(0, colon)), 0};
  const char* end = url.data() + url.size();
  const auto parsed = std::from_chars(url.data() + colon + 1, end, endpoint.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || endpoint.port == 0) return std::nullopt;
  return endpoint;
}

}  // namespace

Result<ControlPlane> ControlPlane::open(const std::string& state_folder) {
  ControlPlane plane(state_folder);
  HF_TRY_VOID(plane.connect());
  return plane;
}

Result<void> ControlPlane::connect() {
  const std::filesystem::path folder(state_folder_);
  const std::string path = folder / "client.json";
  auto text = read_file(path, kClientFileMax);
  if (!text.ok()) {
    if (text.error().code != Errc::kNotFound) return text.error();
    return Error{Errc::kUnavailable,
                 fmt::format("no cluster has its state in {}; start one with "
                             "`holdfast up --state {}`, or name its folder with "
                             "--state or $HOLDFAST_STATE",
                             state_folder_, state_folder_)};
  }
  const auto file = parse_json_text(*text);
  const auto endpoint = parse_endpoint(text_at(file, "api"));
  if (!endpoint || text_at(file, "ca").empty() || text_at(file, "cert").empty() ||
      text_at(file, "key").empty())
    return Error{Errc::kUnparsable, path +
                                        ": not a client file; it needs api (https://host:port), "
                                        "ca, cert and key"};
  const TlsFiles tls{folder / text_at(file, "ca"), folder / text_at(file, "cert"),
                     folder / text_at(file, "key")};
  host_ = endpoint->host;
  client_ = std::make_unique<HttpClient>(endpoint->host, endpoint->port, tls);
  return {};
}

Result<nlohmann::json> ControlPlane::get(const std::string& target, Duration patience) {
  return exchange(target, nullptr, patience);
}

Result<nlohmann::json> ControlPlane::post(const std::string& target, const std::string& body) {
  return exchange(target, &body, seconds(30));
}

Result<nlohmann::json> ControlPlane::exchange(const std::string& target, const std::string* body,
                                              Duration patience) {
  using Clock = std::chrono::steady_clock;
  auto answer = try_once(target, body, patience);
  if (!patient_ || answer.ok() || answer.error().code != Errc::kUnavailable) return answer;
  say("the control plane does not answer; trying again for 60 s, the job goes on meanwhile");
  const auto deadline = Clock::now() + kOutageMax;
  const int interrupts_before = interrupts();
  while (Clock::now() < deadline && interrupts() == interrupts_before) {
    pause_for(milliseconds(300));
    // A control plane that comes back may have taken another port.
    if (auto connected = connect(); !connected.ok()) continue;
    answer = try_once(target, body, patience);
    if (!answer.ok() && answer.error().code == Errc::kUnavailable) continue;
    say("the control plane answers again");
    break;
  }
  return answer;
}

Result<nlohmann::json> ControlPlane::try_once(const std::string& asked, const std::string* body,
                                              Duration patience) {
  std::string target = asked;
  if (const char* cluster = std::getenv(kClusterVariable); cluster != nullptr && *cluster != '\0')
    target +=
        (target.find('?') == target.npos ? "?cluster=" : "&cluster=") + encode_segment(cluster);
  auto response =
      body != nullptr ? client_->post(target, *body, patience) : client_->get(target, patience);
  if (!response.ok()) {
    Error error = response.error();
    if (error.code == Errc::kUnavailable)
      error.detail += "; start it with `holdfast up --state " + state_folder_ + "`";
    return error;
  }
  if (response->status >= 400) return read_error(*response);
  auto answer = parse_json_text(response->body);
  if (!answer.is_object())
    return Error{Errc::kUnparsable, target +
                                        ": the answer is not a JSON object; client and "
                                        "control plane may be of different versions"};
  return answer;
}

std::string encode_segment(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  std::string out;
  for (const char letter : text) {
    if (kPlain.find(letter) != kPlain.npos)
      out += letter;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
  }
  return out;
}

const nlohmann::json& at(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

const nlohmann::json& list_at(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kEmpty = nlohmann::json::array();
  const auto& value = at(object, key);
  return value.is_array() ? value : kEmpty;
}

bool has(const nlohmann::json& object, const char* key) {
  return !at(object, key).is_null();
}

std::string text_at(const nlohmann::json& object, const char* key) {
  const auto& value = at(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

std::int64_t whole_at(const nlohmann::json& object, const char* key) {
  const auto& value = at(object, key);
  return value.is_number() ? value.get<std::int64_t>() : 0;
}

}  // namespace holdfast
