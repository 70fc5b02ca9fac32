#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/job_spec.h"

namespace holdfast {

// A job file as parse_job_file() reads it; an error for a file that cannot be read.
[[nodiscard]] Result<JobSpec> read_job_file(const std::string& path);

// Fills in what a job takes from the person who submits it: the owner, a request token, the
// variables that a program needs to run (HOME, PATH, LANG, USER, and PYTHONPATH, VIRTUAL_ENV,
// LD_LIBRARY_PATH where set; what the job says itself wins), and the absolute path of its program.
// Then checks the whole of it, also what only this machine's file system can tell.
[[nodiscard]] Result<JobSpec> complete_job(JobSpec spec);

// A name for a job without one: {"python3", "train_gpt.py"} -> "train-gpt-5f1c".
[[nodiscard]] std::string name_after(const std::vector<std::string>& command,
                                     const std::string& suffix);

}  // namespace holdfast
