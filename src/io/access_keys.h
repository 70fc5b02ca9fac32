#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "model/access.h"

namespace holdfast {

inline constexpr std::size_t kAccessKeysMax = 1000;

struct AccessKey {
  std::string id;  // 20 characters of A-Z and 0-9, as AWS's are
  AccessRole role = AccessRole::kViewer;
  WallTime created;
  std::optional<WallTime> last_used;  // to the hour
  bool disabled = false;

  friend bool operator==(const AccessKey&, const AccessKey&) = default;
};

struct NewAccessKey {
  AccessKey key;
  std::string secret;  // 40 characters; nobody can ask for it again
};

// Who may call the HyperPod API: FOLDER/access_keys.json (0600, replaced as a whole, durable when a
// call returns). Any thread.
//
// Signature Version 4 is checked with the secret itself, so it is kept, encrypted: AES-256-GCM with
// FOLDER/access_keys.key (0600), bound to its id and role. Who gets access_keys.json alone (a
// backup of it, a support bundle) has no secret, and cannot give a key another role. Who reads the
// whole folder has all of them, and the cluster's CA besides: a folder on a disk is protected by
// its mode and by the disk's encryption.
class AccessKeys {
 public:
  // Makes both files where there are none. kStateCorrupt for files that are damaged, do not belong
  // together, or of which one is missing.
  [[nodiscard]] static Result<std::unique_ptr<AccessKeys>> open(const std::string& folder);

  // kWrongState past kAccessKeysMax. On an error nothing has changed.
  [[nodiscard]] Result<NewAccessKey> create(AccessRole role, WallTime now);
  [[nodiscard]] Result<void> disable(std::string_view id);  // kNotFound
  [[nodiscard]] Result<void> remove(std::string_view id);   // kNotFound
  [[nodiscard]] std::vector<AccessKey> list() const;        // by id

  struct Found {
    AccessKey key;
    std::string secret;
  };
  [[nodiscard]] std::optional<Found> find(std::string_view id) const;
  // A request of it has been verified. Written down once an hour; where that fails, the next hour.
  void used(std::string_view id, WallTime now);

 private:
  struct Record {
    AccessKey key;
    std::string secret;
    std::string sealed;  // hexadecimal: nonce, ciphertext, tag
  };
  using Records = std::map<std::string, Record, std::less<>>;
  AccessKeys(std::string path, std::string master)
      : path_(std::move(path)), master_(std::move(master)) {}
  [[nodiscard]] Result<void> load(const std::string& text);
  [[nodiscard]] Result<void> replace(Records records);  // REQUIRES: mutex_ is held

  const std::string path_;
  const std::string master_;  // 32 bytes
  mutable std::mutex mutex_;
  Records records_;  // guarded by mutex_
};

}  // namespace holdfast
