#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "base/time.h"
#include "io/http_client.h"

namespace holdfast {

// The cluster of the server that commands are about; not set: the folder's own.
inline constexpr const char* kClusterVariable = "HOLDFAST_CLUSTER_NAME";

// The control plane as the commands see it. A state folder leads to it through its client.json:
//
//   {"api": "https://127.0.0.1:7443", "ca": "ca/ca.crt", "cert": "client/operator.crt",
//    "key": "client/operator.key", "cluster": "demo"}      paths are relative to the folder
class ControlPlane {
 public:
  [[nodiscard]] static Result<ControlPlane> open(const std::string& state_folder);

  // From here on a control plane that does not answer is tried again for up to 60 s per call (it
  // may be restarting), which is said once per outage on standard error.
  void be_patient() { patient_ = true; }

  // `target` is what follows the host: "/v1/status". An HTTP status >= 400 is the error that the
  // answer names; an answer that is no JSON object is kUnparsable.
  [[nodiscard]] Result<nlohmann::json> get(const std::string& target,
                                           Duration patience = seconds(10));
  [[nodiscard]] Result<nlohmann::json> post(const std::string& target,
                                            const std::string& body = "{}");

  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] const std::string& state_folder() const { return state_folder_; }

 private:
  explicit ControlPlane(std::string state_folder) : state_folder_(std::move(state_folder)) {}
  [[nodiscard]] Result<void> connect();
  [[nodiscard]] Result<nlohmann::json> exchange(const std::string& target, const std::string* body,
                                                Duration patience);
  [[nodiscard]] Result<nlohmann::json> try_once(const std::string& target, const std::string* body,
                                                Duration patience);

  std::string state_folder_;
  std::string host_;
  std::unique_ptr<HttpClient> client_;
  bool patient_ = false;
};

// For one segment of a target: "a b" -> "a%20b".
[[nodiscard]] std::string encode_segment(const std::string& text);

// Reading an answer: what is absent, null or of another type is empty, so that a client can show
// what it knows of a newer server's answer.
[[nodiscard]] std::string text_at(const nlohmann::json& object, const char* key);
[[nodiscard]] std::int64_t whole_at(const nlohmann::json& object, const char* key);
[[nodiscard]] bool has(const nlohmann::json& object, const char* key);  // present and not null
[[nodiscard]] const nlohmann::json& at(const nlohmann::json& object, const char* key);  // or null
// A list, perhaps the empty one.
[[nodiscard]] const nlohmann::json& list_at(const nlohmann::json& object, const char* key);

}  // namespace holdfast
