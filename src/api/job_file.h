#pragma once

// A job as a person writes it, in YAML or JSON, and as the client sends it:
//
//   name: gpt-small                  # required; [a-z0-9-], at most 63 letters
//   owner: ada
//   team: research
//   nodes: 4                         # or {min: 2, max: 4}; 1 if left out
//   ranks_per_node: 1
//   command: [python3, train.py]     # required; a string is run by /bin/sh -c
//   environment: {OMP_NUM_THREADS: 1}
//   working_folder: .                # relative to the file's folder, which is also the default
//   checkpoint: {folder: checkpoints, interval_steps: 50, keep: 3,    # folder as above
//                keep_every: 10000, budget: 2TiB}
//   retry: {attempts_without_progress_max: 3}
//   hang: {stall_s: 30, stall_factor: 10, first_step_s: 900}   # the last: none if left out
//   memory_limit: 2GiB               # per rank; KiB, MiB, GiB, TiB or bytes
//   request_token: 5f1c              # the same token again is the same job, not a second one
//
// Nothing here touches a file system.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/job_spec.h"

namespace holdfast {

// `file` names the text in errors ("train.yaml:3: ..."); `folder` is absolute and is what relative
// folders are relative to. The result has passed check_job_spec().
[[nodiscard]] Result<JobSpec> parse_job_file(std::string_view text, const std::string& file,
                                             const std::string& folder);

// The same in JSON, for the body of a request: folders must be absolute.
[[nodiscard]] Result<JobSpec> parse_job_body(std::string_view text);
[[nodiscard]] std::string render_job_body(const JobSpec& spec);

// What holds for every JobSpec that enters the core, wherever it comes from.
[[nodiscard]] Result<void> check_job_spec(const JobSpec& spec);

// "2GiB", "512MiB", "1048576" -> bytes; `field` is for the error.
[[nodiscard]] Result<std::uint64_t> parse_bytes(std::string_view text, std::string_view field);

}  // namespace holdfast
