#pragma once

#include <map>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/snapshot_memory.h"

namespace holdfast::engine {

// Folders that a training program reaches through its node's snapshot server, which has the client
// for them (S3) and the credentials; the program has neither.

// Whether it is one of those: s3://
[[nodiscard]] bool is_far_folder(const std::string& name);

// The server's side of one connection. What was opened or drafted is forgotten with it.
class FolderSession {
 public:
  explicit FolderSession(const FolderOpener& opener) : opener_(opener) {}
  // Throws json::exception for what is no request. `content`: what goes along with the answer.
  nlohmann::json answer(const nlohmann::json& request, std::shared_ptr<Region>& content);

 private:
  Result<Folder*> folder(const std::string& name);
  Result<FileReader*> reader(const std::string& name, const std::string& path);

  const FolderOpener& opener_;
  std::map<std::string, std::unique_ptr<Folder>> folders_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<FileReader>> readers_;
};

// The program's side: all but create(), since shards are written by the server, and texts of up to
// 64 KiB. As with the server's own: when it cannot be said whether something exists, the folder
// refuses everything from then on.
[[nodiscard]] Result<std::unique_ptr<Folder>> remote_folder(const std::string& socket_path,
                                                            const std::string& name);

}  // namespace holdfast::engine
