#include "core/diagnose/stacks.h"

#include <string>

#include <gtest/gtest.h>

namespace holdfast {
namespace {

constexpr std::string_view kLoaderThread =
    "Thread 0x00007f51 (most recent call first):\n"
    "  File \"/usr/lib/python3.11/threading.py\", line 324 in wait\n"
    "\n";

TEST(Stacks, TheInnermostFrameIsTheMainThreadsOwn) {
  const std::string dump = std::string(kLoaderThread) +
                           "Current thread 0x00007f52 (most recent call first):\n"
                           "  File \"/job/train.py\", line 40 in augment\n"
                           "  File \"/job/train.py\", line 90 in <module>\n";
  EXPECT_EQ(innermost_frame(dump), "  File \"/job/train.py\", line 40 in augment");
}

TEST(Stacks, TheLastDumpOfALogCounts) {
  EXPECT_EQ(innermost_frame("Current thread 0x1 (most recent call first):\n"
                            "  File \"/job/old.py\", line 1 in old\n"
                            "\n"
                            "Current thread 0x1 (most recent call first):\n"
                            "  File \"/job/new.py\", line 2 in new\n"),
            "  File \"/job/new.py\", line 2 in new");
}

TEST(Stacks, ATimerOrAnotherThreadMayHaveWrittenTheDump) {
  const std::string side =
      " (most recent call first):\n  File \"/usr/lib/python3.11/threading.py\", line 324 in wait\n"
      "  File \"/usr/lib/python3.11/threading.py\", line 1002 in _bootstrap\n\n";
  const std::string main_thread =
      "Thread 0x00007f12 (most recent call first):\n  File \"/job/train.py\", line 5 in lock\n"
      "  File \"/job/train.py\", line 90 in <module>\n";
  EXPECT_EQ(innermost_frame("Timeout (0:05:00)!\nThread 0x00007f77" + side + main_thread),
            "  File \"/job/train.py\", line 5 in lock");
  EXPECT_EQ(innermost_frame("Current thread 0x00007f77" + side + main_thread),
            "  File \"/job/train.py\", line 5 in lock");
  EXPECT_EQ(innermost_frame("Current thread 0x00007f77" + side),
            "  File \"/usr/lib/python3.11/threading.py\", line 324 in wait");
}

TEST(Stacks, AMainThreadWithoutFramesDoesNotBorrowThoseOfAnother) {
  const std::string dump = "Current thread 0x1 (most recent call first):\n  <no Python frame>\n\n" +
                           std::string(kLoaderThread);
  EXPECT_EQ(innermost_frame(dump), "");
  for (const char* text : {"", "Current thread ", "Current thread 0x1", "Segmentation fault\n"})
    EXPECT_EQ(innermost_frame(text), "") << text;
}

TEST(Stacks, PlacesWhereARankWaitsForItsPeers) {
  for (const char* frame : {"/usr/lib/python3/dist-packages/torch/distributed/"
                            "distributed_c10d.py\", line 2259 in all_reduce",
                            "/venv/lib/torch/autograd/__init__.py\", line 200 in backward",
                            "/venv/lib/torch/autograd/graph.py\", line 769 in _engine_run_backward",
                            "/venv/lib/torch/nn/parallel/distributed.py\", line 1735 in "
                            "_distributed_broadcast_coalesced"})
    EXPECT_TRUE(
        waits_for_peers(std::string("Current thread 0x1 (most recent call first):\n  File \"") +
                        frame + "\n  File \"/job/train.py\", line 9 in <module>\n"))
        << frame;
}

TEST(Stacks, UserCodeBelowDdpDoesNotWaitForPeers) {
  EXPECT_FALSE(waits_for_peers(
      "Current thread 0x1 (most recent call first):\n"
      "  File \"/job/model.py\", line 33 in forward\n"
      "  File \"/venv/lib/torch/nn/modules/module.py\", line 1501 in _call_impl\n"
      "  File \"/venv/lib/torch/nn/parallel/distributed.py\", line 1110 in _run_ddp_forward\n"
      "  File \"/job/train.py\", line 90 in <module>\n"));
  EXPECT_FALSE(waits_for_peers(""));
}

}  // namespace
}  // namespace holdfast
