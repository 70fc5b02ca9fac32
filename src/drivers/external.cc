#include "drivers/external.h"

#include <spdlog/spdlog.h>

#include "io/files.h"

namespace holdfast {

void ExternalDriver::provision(const MachineWish& wish) {
  const std::string folder = nodes_folder_ + "/" + to_string(wish.node);
  Result<void> written = make_folder(folder, 0700);
  if (written.ok())
    written = write_file_atomic(folder + "/join.token", make_token_(wish.node), 0600);
  if (!written.ok()) spdlog::error("{}", written.error().text());
}

}  // namespace holdfast
