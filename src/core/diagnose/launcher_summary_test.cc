#include "core/diagnose/launcher_summary.h"

#include <gtest/gtest.h>

#include <string>

namespace holdfast {
namespace {

TEST(LauncherSummary, OfTorchrun) {
  const std::string text =
      "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
      "train.py FAILED\nFailures:\n[1]:\n  rank      : 0 (local_rank: 0)\n"
      "  exitcode  : 1 (pid: 1000)\n"
      "Root Cause (first observed failure):\n[0]:\n  time      : 2026-11-24_04:03:19\n"
      "  host      : gpu-1\n  rank      : 3 (local_rank: 1)\n  exitcode  : -9 (pid: 1003)\n";
  EXPECT_EQ(read_launcher_summary(text), (FirstFailure{3, 9}));
}

TEST(LauncherSummary, OfMpiAndSlurm) {
  EXPECT_EQ(read_launcher_summary("MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD"),
            (FirstFailure{3, 0}));
  EXPECT_EQ(read_launcher_summary("Abort(1) on node 2 (rank 2 in comm 0): application called "
                                  "MPI_Abort(MPI_COMM_WORLD, 1) - process 2"),
            (FirstFailure{2, 0}));
  EXPECT_EQ(read_launcher_summary("mpirun noticed that process rank 5 with PID 0 on node gpu-2 "
                                  "exited on signal 11 (Segmentation fault)."),
            (FirstFailure{5, 11}));
  EXPECT_EQ(read_launcher_summary("thus causing the job to be terminated. The first process to do "
                                  "so was:\n\n  Process name: [[6132,1],3]\n  Exit code:    77\n"),
            (FirstFailure{3, 0}));
  EXPECT_EQ(read_launcher_summary("=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n"
                                  "=   RANK 1 PID 4242 RUNNING AT gpu-0\n"
                                  "=   KILLED BY SIGNAL: 9 (Killed)\n"),
            (FirstFailure{1, 9}));
  EXPECT_EQ(read_launcher_summary("srun: error: gpu-1: task 3: Segmentation fault (core dumped)\n"
                                  "srun: error: gpu-0: task 0: Exited with exit code 1\n"),
            (FirstFailure{3, 11}));
}

TEST(LauncherSummary, WhatTellsNobodyNamesNobody) {
  for (const char* text : {"", "rank 3 failed", "srun: error: gpu-1: tasks 0-2: Killed",
                           "srun: Job step aborted: Waiting up to 32 seconds for job step",
                           "MPI_ABORT was invoked on rank x", "MPI_ABORT was invoked on rank -4",
                           "Root Cause (first observed failure):\n[0]:\n  host : gpu-1"})
    EXPECT_FALSE(read_launcher_summary(text)) << text;
}

}  // namespace
}  // namespace holdfast
