#include "core/diagnose/rank_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/diagnose/stacks.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;

TEST(RankLog, TheUncaughtExceptionWithItsTraceback) {
  const RankLog log = read_rank_log(
      "step 1\n"
      "Traceback (most recent call last):\n"
      "  File \"train.py\", line 3, in <module>\n"
      "    loss = model(batch)\n"
      "ValueError: expected 3 channels\ngot 4\n\n");
  EXPECT_EQ(log.error_type, "ValueError");
  EXPECT_EQ(log.error_message, "expected 3 channels\ngot 4");
  EXPECT_THAT(log.traceback, HasSubstr("line 3, in <module>"));
}

TEST(RankLog, PrefixesOfLaunchersAndModulesAreTakenOff) {
  for (const char* prefix : {"[rank3]: ", "[default3]:", "[1,3]<stderr>:"}) {
    const std::string p = prefix;
    const RankLog log = read_rank_log(p + "Traceback (most recent call last):\n" + p +
                                      "  File \"a.py\", line 1, in f\n" + p +
                                      "torch.cuda.OutOfMemoryError: CUDA out of memory.\n");
    EXPECT_EQ(log.error_type, "OutOfMemoryError") << prefix;
  }
}

TEST(RankLog, OfAChainTheFirstThatIsNoEcho) {
  const std::string echo =
      "Traceback (most recent call last):\n  File \"a\", line 1, in f\n"
      "RuntimeError: Connection closed by peer [127.0.0.1]:2\n";
  const std::string own =
      "Traceback (most recent call last):\n  File \"b\", line 1, in g\nKeyError: 'x'\n";
  const std::string during =
      "\nDuring handling of the above exception, another exception occurred:\n\n";
  EXPECT_EQ(read_rank_log(own + during + echo).error_type, "KeyError");
  EXPECT_EQ(read_rank_log(echo + during + own).error_type, "KeyError");
  EXPECT_EQ(read_rank_log(own + "a retry\n" + echo).error_type, "RuntimeError")
      << "not chained: the last counts";
}

TEST(RankLog, ABadLossAndItsStep) {
  for (const char* line : {"step 12 loss nan", "{'step': 12, 'loss': nan}", "step=12 loss=-inf",
                           "iter 12 | train_loss: NaN", "step: 12, loss: tensor(nan)"}) {
    const RankLog log = read_rank_log(std::string("step 11 loss 2.5\n") + line + "\n");
    EXPECT_EQ(log.nan_line, line);
    EXPECT_EQ(log.nan_step, 12u) << line;
  }
  for (const char* line : {"step 12 loss 0.25", "loss function: nanmean", "glossy nan",
                           "loss: information follows", "lossless infinity war"})
    EXPECT_EQ(read_rank_log(line).nan_line, "") << line;
}

TEST(RankLog, ALossThatJumpsAndDoesNotComeBack) {
  std::string text;
  for (int i = 0; i < 20; ++i)
    text += "step " + std::to_string(i) + " loss 2." + std::to_string(i) + "\n";
  EXPECT_EQ(read_rank_log(text + "step 20 loss 7.5\n").spike_line, "") << "within ten times";
  EXPECT_EQ(read_rank_log(text + "step 20 loss 812.5\nstep 21 loss 977\n").spike_line,
            "step 20 loss 812.5");
  EXPECT_EQ(read_rank_log(text + "loss: 8.1e+02\n").spike_line, "loss: 8.1e+02");
  EXPECT_EQ(read_rank_log(text + "loss: 810e-2\n").spike_line, "");
  EXPECT_EQ(read_rank_log(text + "loss: " + std::string(400, '9') + "e99999999999\n").nan_line, "");
  EXPECT_EQ(read_rank_log(text + "step 20 loss 812.5\nstep 21 loss 2.4\n").spike_line, "")
      << "it came back";
  EXPECT_EQ(read_rank_log("step 1 loss 0.1\nstep 2 loss 100\n").spike_line, "") << "a start";
}

TEST(RankLog, TheWatchdogsLastCollective) {
  const RankLog log = read_rank_log(
      "[rank1]:[E1124 04:06:19.1 ProcessGroupNCCL.cpp:607] [Rank 1] Watchdog caught collective "
      "operation timeout: WorkNCCL(SeqNum=57, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600012 "
      "milliseconds before timing out.\n");
  EXPECT_TRUE(log.timed_out);
  EXPECT_EQ(log.last_enqueued, 57u);
}

TEST(RankLog, CppExceptions) {
  const RankLog log = read_rank_log(
      "terminate called after throwing an instance of 'std::bad_alloc'\n"
      "  what():  std::bad_alloc\n");
  EXPECT_EQ(log.error_type, "bad_alloc");
  EXPECT_TRUE(says_out_of_memory(log.error_message));
}

TEST(RankLog, WordsOfCuda) {
  EXPECT_EQ(device_trouble("CUDA error: uncorrectable ECC error encountered"),
            DeviceTrouble::kHardware);
  EXPECT_EQ(device_trouble("CUDA error: an illegal memory access was encountered"),
            DeviceTrouble::kProgram);
  EXPECT_EQ(device_trouble("no CUDA-capable device is detected"), DeviceTrouble::kUnavailable);
  EXPECT_EQ(device_trouble("shape mismatch"), DeviceTrouble::kNone);
}

TEST(RankLog, ATracebackThatIsCutOffByOtherOutputIsLeftOut) {
  const std::string whole =
      "Traceback (most recent call last):\n  File \"a\", line 1, in f\nKeyError: 'x'\n";
  const RankLog log =
      read_rank_log(whole + "Traceback (most recent call last):\nstep 3 of 9\nstep 4 of 9\n");
  EXPECT_EQ(log.error_type, "");
  const RankLog chained = read_rank_log(
      whole + "During handling of the above exception, another exception occurred:\n" +
      "Traceback (most recent call last):\nstep 3 of 9\nstep 4 of 9\n");
  EXPECT_EQ(chained.error_type, "KeyError");
  EXPECT_EQ(chained.error_message, "'x'");
}

TEST(RankLog, ALineWithoutEndOfTheWordThatIsLookedForIsReadOnce) {
  std::string line;
  for (int i = 0; i < 1'000'000; ++i) line += "loss";  // minutes, if each began its value anew
  EXPECT_FALSE(read_rank_log(line).writes_loss);
}

TEST(RankLog, AnyBytesGiveSomething) {
  for (const char* text : {"", "\n\n", "Traceback (most recent call last):",
                           "Traceback (most recent call last):\n  File", "[", "[rank", "[rank3]",
                           "loss", "During handling of the above exception, another", "[1,]<std"})
    EXPECT_TRUE(read_rank_log(text).error_type.empty()) << text;
}

TEST(RankLog, DumpsOfPySpy) {
  const std::string dump = as_fault_dump(
      "Process 42: python3 train.py\nThread 42 (idle): \"MainThread\"\n"
      "    all_reduce (torch/distributed/distributed_c10d.py:1448)\n    step (train.py:12)\n"
      "Thread 43 (active): \"loader\"\n    get (queue.py:1)\n");
  EXPECT_TRUE(waits_for_peers(dump)) << dump;
  EXPECT_THAT(dump, HasSubstr("File \"/train.py\", line 12 in step"));
  EXPECT_EQ(as_fault_dump("do_futex_wait+0x1"), "do_futex_wait+0x1");
}

}  // namespace
}  // namespace holdfast
