#include "apps/key_views.h"

#include <memory>

#include <nlohmann/json.hpp>

#include "io/files.h"

namespace holdfast {
namespace {

using nlohmann::json;

json view(const AccessKey& key) {
  return {{"id", key.id},
          {"role", word_of(key.role)},
          {"state", key.disabled ? "disabled" : "active"},
          {"created_unix_ns", key.created.ns},
          {"last_used_unix_ns", key.last_used ? json(key.last_used->ns) : json()}};
}

HttpResponse done(const Result<void>& result) {
  return result.ok() ? HttpResponse{200, "{}"} : render_error(result.error());
}

}  // namespace

std::optional<HttpResponse> answer_keys(const Ask& ask, AccessKeys& keys, WallTime now) {
  if (std::holds_alternative<ask::ListKeys>(ask)) {
    json list = json::array();
    for (const AccessKey& key : keys.list()) list.push_back(view(key));
    return HttpResponse{200, json{{"keys", std::move(list)}}.dump()};
  }
  if (const auto* create = std::get_if<ask::CreateKey>(&ask)) {
    const auto made = keys.create(create->role, now);
    if (!made.ok()) return render_error(made.error());
    return HttpResponse{201, json{{"key", view(made->key)}, {"secret", made->secret}}.dump()};
  }
  if (const auto* disable = std::get_if<ask::DisableKey>(&ask))
    return done(keys.disable(disable->id));
  if (const auto* gone = std::get_if<ask::DeleteKey>(&ask)) return done(keys.remove(gone->id));
  return std::nullopt;
}

Result<void> make_first_key(const std::string& state, WallTime now) {
  HF_TRY(const std::unique_ptr<AccessKeys> keys, AccessKeys::open(state));
  HF_TRY(const NewAccessKey made, keys->create(AccessRole::kAdmin, now));
  return write_file_atomic(state + "/client/credentials",
                           "[default]\naws_access_key_id = " + made.key.id +
                               "\naws_secret_access_key = " + made.secret + "\n",
                           0600);
}

}  // namespace holdfast
