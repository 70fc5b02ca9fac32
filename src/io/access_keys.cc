#include "io/access_keys.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "io/files.h"
#include "io/random.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kFileMax = 4 << 20;
constexpr int kNonceBytes = 12;
constexpr int kTagBytes = 16;
constexpr std::size_t kMasterBytes = 32;
constexpr std::size_t kIdLength = 20;
constexpr std::size_t kSecretLength = 40;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

std::string random_bytes(std::size_t count) {
  return *from_hex(random_hex(count));
}

// Each of the letters is as likely as every other.
std::string random_text(std::string_view letters, std::size_t length) {
  const std::size_t fair = 256 / letters.size() * letters.size();
  std::string text;
  while (text.size() < length)
    for (const unsigned char byte : random_bytes(length))
      if (byte < fair && text.size() < length) text += letters[byte % letters.size()];
  return text;
}

// What a sealed secret belongs to.
std::string binding(const AccessKey& key) {
  return "holdfast access key 1 " + key.id + " " + std::string(word_of(key.role));
}

std::string seal(std::string_view master, const AccessKey& key, std::string_view secret) {
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  const std::string nonce = random_bytes(kNonceBytes);
  const std::string bound = binding(key);
  std::string sealed(secret.size(), '\0');
  std::string tag(kTagBytes, '\0');
  int size = 0;
  CHECK(EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(master),
                           bytes_of(nonce)) == 1);
  CHECK(EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes_of(std::string_view(bound)),
                          static_cast<int>(bound.size())) == 1);
  CHECK(EVP_EncryptUpdate(cipher.get(), bytes_of(sealed), &size, bytes_of(secret),
                          static_cast<int>(secret.size())) == 1);
  CHECK(EVP_EncryptFinal_ex(cipher.get(), nullptr, &size) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, tag.data()) == 1);
  return to_hex(nonce + sealed + tag);
}

std::optional<std::string> unseal(std::string_view master, const AccessKey& key,
                                  std::string_view sealed_hex) {
  const auto sealed = from_hex(sealed_hex);
  if (!sealed || sealed->size() != kNonceBytes + kSecretLength + kTagBytes) return std::nullopt;
  const std::string nonce = sealed->substr(0, kNonceBytes);
  std::string tag = sealed->substr(kNonceBytes + kSecretLength);
  const std::string bound = binding(key);
  std::string secret = sealed->substr(kNonceBytes, kSecretLength);
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int size = 0;
  CHECK(EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(master),
                           bytes_of(std::string_view(nonce))) == 1);
  CHECK(EVP_DecryptUpdate(cipher.get(), nullptr, &size, bytes_of(std::string_view(bound)),
                          static_cast<int>(bound.size())) == 1);
  CHECK(EVP_DecryptUpdate(cipher.get(), bytes_of(secret), &size,
                          bytes_of(std::string_view(*sealed)) + kNonceBytes,
                          static_cast<int>(kSecretLength)) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1);
  if (EVP_DecryptFinal_ex(cipher.get(), nullptr, &size) != 1) return std::nullopt;
  return secret;
}

Error not_found(std::string_view id) {
  return {Errc::kNotFound,
          "key: '" + std::string(id.substr(0, 40)) + "' is not known; see `holdfast key list`"};
}

Error corrupt(const std::string& path, const std::string& what) {
  return {Errc::kStateCorrupt,
          path + ": " + what +
              "; restore access_keys.json and access_keys.key together from a backup, or remove "
              "both (all access keys are then gone) and make new ones with `holdfast key create`"};
}

// The master key; made where neither file exists.
Result<std::string> read_master(const std::string& keys_path, const std::string& path) {
  const bool has_keys = ::access(keys_path.c_str(), F_OK) == 0;
  if (::access(path.c_str(), F_OK) != 0) {
    if (has_keys) return corrupt(path, "it is missing");
    const std::string master = random_bytes(kMasterBytes);
    HF_TRY_VOID(write_file_atomic(path, to_hex(master) + "\n", 0600));
    return master;
  }
  HF_TRY(std::string text, read_file(path, 1024));
  if (text.ends_with('\n')) text.pop_back();
  const auto master = from_hex(text);
  if (!master || master->size() != kMasterBytes) return corrupt(path, "it is damaged");
  return *master;
}

}  // namespace

Result<std::unique_ptr<AccessKeys>> AccessKeys::open(const std::string& folder) {
  const std::string path = folder + "/access_keys.json";
  HF_TRY(const std::string master, read_master(path, folder + "/access_keys.key"));
  std::unique_ptr<AccessKeys> keys(new AccessKeys(path, master));
  if (::access(path.c_str(), F_OK) == 0) {
    HF_TRY(const std::string text, read_file(path, kFileMax));
    HF_TRY_VOID(keys->load(text));
  }
  return keys;
}

Result<void> AccessKeys::load(const std::string& text) {
  const std::lock_guard lock(mutex_);
  try {
    const json file = json::parse(text);
    for (const json& item : file.at("keys")) {
      Record record;
      record.key.id = item.at("id");
      const auto role = parse_word<AccessRole>(item.at("role").get<std::string>());
      record.sealed = item.at("secret");
      record.key.created = WallTime{item.at("created_ns").get<std::int64_t>()};
      if (!item.at("last_used_ns").is_null())
        record.key.last_used = WallTime{item.at("last_used_ns").get<std::int64_t>()};
      record.key.disabled = item.at("disabled");
      if (!role) return corrupt(path_, "the role of " + record.key.id + " is not known");
      record.key.role = *role;
      const auto secret = unseal(master_, record.key, record.sealed);
      if (!secret)
        return corrupt(path_, "the secret of " + record.key.id +
                                  " cannot be read with access_keys.key, or its role was changed");
      record.secret = *secret;
      records_.insert_or_assign(record.key.id, record);
    }
    return {};
  } catch (const json::exception& error) {
    return corrupt(path_, error.what());
  }
}

Result<void> AccessKeys::replace(Records records) {
  json list = json::array();
  for (const auto& [id, record] : records)
    list.push_back(
        {{"id", id},
         {"role", word_of(record.key.role)},
         {"created_ns", record.key.created.ns},
         {"last_used_ns", record.key.last_used ? json(record.key.last_used->ns) : json()},
         {"disabled", record.key.disabled},
         {"secret", record.sealed}});
  HF_TRY_VOID(write_file_atomic(path_, json{{"keys", std::move(list)}}.dump(2) + "\n", 0600));
  records_ = std::move(records);
  return {};
}

Result<NewAccessKey> AccessKeys::create(AccessRole role, WallTime now) {
  const std::lock_guard lock(mutex_);
  if (records_.size() >= kAccessKeysMax)
    return Error{Errc::kWrongState, "keys: there are " + std::to_string(kAccessKeysMax) +
                                        " already, which are the most; delete one first"};
  Record record;
  record.key.id = "AKIA" + random_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", kIdLength - 4);
  record.key.role = role;
  record.key.created = now;
  record.secret =
      random_text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", kSecretLength);
  record.sealed = seal(master_, record.key, record.secret);
  Records records = records_;
  records.emplace(record.key.id, record);
  HF_TRY_VOID(replace(std::move(records)));
  return NewAccessKey{record.key, record.secret};
}

Result<void> AccessKeys::disable(std::string_view id) {
  const std::lock_guard lock(mutex_);
  Records records = records_;
  const auto found = records.find(id);
  if (found == records.end()) return not_found(id);
  found->second.key.disabled = true;
  return replace(std::move(records));
}

Result<void> AccessKeys::remove(std::string_view id) {
  const std::lock_guard lock(mutex_);
  Records records = records_;
  const auto found = records.find(id);
  if (found == records.end()) return not_found(id);
  records.erase(found);
  return replace(std::move(records));
}

std::vector<AccessKey> AccessKeys::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AccessKey> keys;
  for (const auto& [id, record] : records_) keys.push_back(record.key);
  return keys;
}

std::optional<AccessKeys::Found> AccessKeys::find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(id);
  if (found == records_.end()) return std::nullopt;
  return Found{found->second.key, found->second.secret};
}

void AccessKeys::used(std::string_view id, WallTime now) {
  constexpr std::int64_t kHour = 3'600'000'000'000;
  const WallTime hour{now.ns / kHour * kHour};
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(id);
  if (found == records_.end() || found->second.key.last_used == hour) return;
  found->second.key.last_used = hour;  // also where it cannot be written
  (void)replace(records_);
}

}  // namespace holdfast
