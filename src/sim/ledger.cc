#include "sim/ledger.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace holdfast::sim {

AcceleratorTime sum(const Totals& totals) {
  return std::accumulate(totals.begin(), totals.end(), AcceleratorTime{0});
}

std::uint32_t goodput_ppm(const Totals& totals) {
  const AcceleratorTime wanted = sum(totals) - at(totals, Part::kIdle);
  if (wanted == 0) return 0;
  return static_cast<std::uint32_t>(at(totals, Part::kUseful) * 1'000'000 / wanted);
}

Ledger::Ledger(Instant start, std::uint64_t accelerators)
    : start_(start), accelerators_(accelerators) {
  groups_.push_back({.accelerators = accelerators, .since = start});
}

Ledger::Group Ledger::add_group() {
  groups_.push_back({.since = start_});
  return static_cast<Group>(groups_.size() - 1);
}

void Ledger::settle(Instant now, Account& account) {
  CHECK(now >= account.since);
  const AcceleratorTime spent =
      AcceleratorTime{account.accelerators} * static_cast<std::uint64_t>((now - account.since).ns);
  account.since = now;
  totals_[static_cast<std::size_t>(account.part)] += spent;
  if (account.part == Part::kUseful) account.at_risk += spent;
}

void Ledger::move(Instant now, Group from, Group to, std::uint64_t accelerators) {
  settle(now, groups_[from]);
  settle(now, groups_[to]);
  CHECK(groups_[from].accelerators >= accelerators);
  groups_[from].accelerators -= accelerators;
  groups_[to].accelerators += accelerators;
}

void Ledger::set(Instant now, Group group, Part part) {
  settle(now, groups_[group]);
  groups_[group].part = part;
}

void Ledger::snapshot(Instant now, Group group) {
  settle(now, groups_[group]);
  groups_[group].snapshot = groups_[group].at_risk;
}

void Ledger::commit(Group group) {
  Account& account = groups_[group];
  account.at_risk -= account.snapshot;
  account.snapshot = 0;
}

void Ledger::lose(Instant now, Group group) {
  Account& account = groups_[group];
  settle(now, account);
  waste(account, account.at_risk);
}

void Ledger::hold_up(Instant now, Group group, Duration each) {
  CHECK(each.ns >= 0);
  Account& account = groups_[group];
  settle(now, account);
  const AcceleratorTime amount =
      AcceleratorTime{account.accelerators} * static_cast<std::uint64_t>(each.ns);
  waste(account, std::min(amount, account.at_risk));
}

void Ledger::waste(Account& account, AcceleratorTime amount) {
  totals_[static_cast<std::size_t>(Part::kUseful)] -= amount;
  totals_[static_cast<std::size_t>(Part::kLostWork)] += amount;
  account.at_risk -= amount;
  account.snapshot = std::min(account.snapshot, account.at_risk);
  if (account.at_risk == 0) account.snapshot = 0;
}

Totals Ledger::totals(Instant now) const {
  Totals all = totals_;
  for (const Account& account : groups_) {
    CHECK(now >= account.since);
    all[static_cast<std::size_t>(account.part)] +=
        AcceleratorTime{account.accelerators} *
        static_cast<std::uint64_t>((now - account.since).ns);
  }
  return all;
}

AcceleratorTime Ledger::whole(Instant now) const {
  return AcceleratorTime{accelerators_} * static_cast<std::uint64_t>((now - start_).ns);
}

}  // namespace holdfast::sim
