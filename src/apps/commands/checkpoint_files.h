#pragma once

#include <CLI/CLI.hpp>

namespace holdfast {

// `holdfast checkpoint export, import, copy`: checkpoints in and out.
void add_checkpoint_files(CLI::App& group);

}  // namespace holdfast
