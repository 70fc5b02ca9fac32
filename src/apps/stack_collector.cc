#include "apps/stack_collector.h"

#include <signal.h>
#include <sys/stat.h>

#include <memory>

#include <asio/steady_timer.hpp>

#include "io/files.h"
#include "io/stack_dump.h"
#include "io/utf8.h"

namespace holdfast {
namespace {

constexpr auto kLook = std::chrono::milliseconds(50);
constexpr int kLooksMax = 40;
constexpr std::size_t kDumpMax = 64 * 1024;

std::uint64_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

// A real-time signal ends a process that does not expect it.
bool catches(pid_t pid, int signal) {
  const Result<std::string> status =
      read_file("/proc/" + std::to_string(pid) + "/status", 64 * 1024);
  if (!status.ok()) return false;
  const auto at = status->find("SigCgt:\t");
  if (at == std::string::npos) return false;
  const std::uint64_t mask = std::strtoull(status->c_str() + at + 8, nullptr, 16);
  return (mask >> (signal - 1) & 1) != 0;
}

// One question that is under way.
struct Question {
  agent_message::StacksCollected answer;
  pid_t pid;
  std::string file;
  std::uint64_t size_before;
  std::uint64_t size_seen;
  int looks = 0;
  asio::steady_timer timer;
};

std::string new_part(const Question& question) {
  const Result<std::string> text = read_file(question.file, 16 << 20);
  if (!text.ok() || text->size() <= question.size_before) return {};
  return valid_utf8(text->substr(question.size_before, kDumpMax));
}

void look(const std::shared_ptr<Question>& question, const StackCollector::OnStacks& on_stacks) {
  question->timer.expires_after(kLook);
  question->timer.async_wait([question, on_stacks](const asio::error_code& error) {
    if (error) return;
    const std::uint64_t size = size_of(question->file);
    const bool settled = size > question->size_before && size == question->size_seen;
    question->size_seen = size;
    if (!settled && ++question->looks < kLooksMax) return look(question, on_stacks);
    question->answer.answered = size > question->size_before;
    question->answer.process_state = process_state(question->pid);
    question->answer.text =
        question->answer.answered ? new_part(*question) : kernel_stacks(question->pid);
    on_stacks(question->answer);
  });
}

}  // namespace

void StackCollector::collect(const RankLauncher::Key& key, const RankLauncher::Rank& rank) {
  const pid_t pid = RankLauncher::training_pid(rank);
  agent_message::StacksCollected answer{.job = key.job,
                                        .attempt = key.attempt,
                                        .rank = key.rank,
                                        .process_state = process_state(pid)};
  if (!catches(pid, kStacksSignal)) {
    // Not a Python rank: it is not silent, it just cannot speak.
    answer.answered = true;
    answer.text = kernel_stacks(pid);
    on_stacks_(answer);
    return;
  }
  const std::uint64_t size = size_of(rank.paths.stacks);
  auto question = std::make_shared<Question>(Question{.answer = std::move(answer),
                                                      .pid = pid,
                                                      .file = rank.paths.stacks,
                                                      .size_before = size,
                                                      .size_seen = size,
                                                      .timer = asio::steady_timer(context_)});
  ::kill(pid, kStacksSignal);
  look(question, on_stacks_);
}

}  // namespace holdfast
