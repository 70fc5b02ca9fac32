#include "apps/commands/job_follow.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "apps/commands/job_logs.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr auto kStatusEvery = std::chrono::seconds(1);
constexpr Duration kPollInterval = milliseconds(200);

class JobFollower {
 public:
  JobFollower(ControlPlane& plane, std::string job, std::int64_t after, FollowStyle style,
              bool owned)
      : plane_(plane),
        id_(std::move(job)),
        after_(after),
        style_(style),
        owned_(owned),
        live_view_(style == FollowStyle::kAuto && screen_.is_terminal),
        log_(id_, 0, 1) {}

  Result<FollowOutcome> follow() {
    if (live_view_) area_.emplace(screen_);
    while (true) {
      HF_TRY_VOID(observe());
      const bool over = has_ended(live_.job);
      HF_TRY_VOID(show(over));
      if (over) break;
      HF_TRY(const bool leave, heed_interrupts());
      if (leave) {
        outcome_.detached = true;
        break;
      }
      pause_for(kPollInterval);
    }
    area_.reset();
    outcome_.job = live_.job;
    HF_TRY(outcome_.incidents, fetch_incidents());
    return outcome_;
  }

 private:
  Result<void> observe() {
    HF_TRY(live_.job, plane_.get("/v1/jobs/" + encode_segment(id_)));
    // From here on by id: the name may be given to another job.
    if (const std::string id = text_at(live_.job, "id"); !id.empty() && id != id_) {
      id_ = id;
      log_ = RankLog(id, 0, 1);
    }
    HF_TRY_VOID(read_events());
    if (!live_view_) return {};
    for (const json& rank : list_at(live_.job, "ranks")) {
      auto& speeds = live_.speeds[whole_at(rank, "rank")];
      const json& speed = at(rank, "steps_per_s");
      speeds.push_back(speed.is_number() ? speed.get<double>() : 0);
      if (speeds.size() > kSpeedsKept) speeds.pop_front();
    }
    if (Clock::now() - status_read_ > kStatusEvery) {
      HF_TRY(live_.status, plane_.get("/v1/status"));
      status_read_ = Clock::now();
    }
    const json& incidents = list_at(live_.job, "incidents");
    if (incidents.empty()) return {};
    const std::string newest = incidents.back().get<std::string>();
    if (text_at(live_.incident, "id") != newest || text_at(live_.incident, "state") == "open") {
      HF_TRY(live_.incident, plane_.get("/v1/incidents/" + newest));
    }
    return {};
  }

  Result<void> read_events() {
    while (true) {
      HF_TRY(const json answer,
             plane_.get(after_ < 0 ? "/v1/events?limit=100"
                                   : fmt::format("/v1/events?after={}&limit=1000", after_)));
      const json& events = list_at(answer, "events");
      for (const json& event : events)
        if (concerns_us(event)) take(event);
      const std::int64_t next = whole_at(answer, "next");
      const bool more = after_ >= 0 && next > after_ && events.size() >= 1000;
      after_ = std::max<std::int64_t>(next, 0);
      if (!more) return {};
    }
  }

  // Its own events, and those of the cluster that are about no job.
  bool concerns_us(const json& event) const {
    return !has(event, "job") || text_at(event, "job") == id_;
  }

  void take(const json& event) {
    if (style_ == FollowStyle::kJsonLines) return print(event.dump() + "\n");
    if (!live_view_) return say(event_line(event, Paint{}));
    live_.events.push_back(event);
    if (live_.events.size() > kLiveEvents) live_.events.pop_front();
  }

  Result<void> show(bool over) {
    if (style_ == FollowStyle::kJsonLines) return {};
    if (live_view_) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      area_->draw(live_lines(live_, std::chrono::nanoseconds(now).count(), screen_));
      return {};
    }
    const auto sink = [](std::int64_t, const std::string& text) { print(text); };
    const std::int64_t current = attempt_number(at(at(live_.job, "attempt"), "number"));
    if (current == 0) return {};  // nothing has run yet
    HF_TRY_VOID(log_.advance(plane_, current, /*lines=*/true, sink));
    HF_TRY_VOID(log_.read(plane_, /*lines=*/true, sink));
    if (over) log_.flush(sink);
    return {};
  }

  // True: the person leaves.
  Result<bool> heed_interrupts() {
    const int count = interrupts();
    if (count == 0) return false;
    if (!owned_ || count > 1) return true;
    if (!outcome_.asked_to_stop) {
      outcome_.asked_to_stop = true;
      if (!live_view_) say("stopping the job; press Ctrl-C again to leave it to itself");
      auto stopped = plane_.post("/v1/jobs/" + encode_segment(id_) + "/stop");
      // It may have ended in this moment.
      if (!stopped.ok() && stopped.error().code != Errc::kWrongState) return stopped.error();
    }
    return false;
  }

  Result<json> fetch_incidents() {
    json all = json::array();
    for (const json& id : list_at(live_.job, "incidents")) {
      HF_TRY(json incident, plane_.get("/v1/incidents/" + id.get<std::string>()));
      all.push_back(std::move(incident));
    }
    return all;
  }

  ControlPlane& plane_;
  std::string id_;
  std::int64_t after_;
  FollowStyle style_;
  bool owned_;
  Screen screen_ = standard_output();
  bool live_view_;
  RankLog log_;
  std::optional<LiveArea> area_;
  LiveJob live_;
  Clock::time_point status_read_;
  FollowOutcome outcome_;
};

}  // namespace

Result<FollowOutcome> follow_job(ControlPlane& plane, const std::string& job, std::int64_t after,
                                 FollowStyle style, bool owned) {
  count_interrupts();
  plane.be_patient();
  return JobFollower(plane, job, after, style, owned).follow();
}

}  // namespace holdfast
