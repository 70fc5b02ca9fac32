#include "api/hyperpod/ids.h"

#include <algorithm>
#include <charconv>

#include "base/digest.h"

namespace holdfast::hyperpod {
namespace {

std::uint64_t digest_of(const std::string& cluster_id) {
  Digest digest;
  digest.add(cluster_id);
  return digest.value();
}

// The digits that all instance ids of a cluster begin with.
std::string instance_prefix(const std::string& cluster_id) {
  return "i-" + hex_of(digest_of(cluster_id), 9);
}

// As ClusterPrivatePrimaryIp has it: four numbers up to 255, each without a zero before it.
bool is_ipv4(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (at == end || *at++ != '.')) return false;
    if (at == end || *at < '0' || *at > '9') return false;
    std::uint8_t value = 0;
    const auto [behind, error] = std::from_chars(at, end, value);
    if (error != std::errc{} || (*at == '0' && behind != at + 1)) return false;
    at = behind;
  }
  return at == end;
}

}  // namespace

std::string cluster_arn(const Site& site, const std::string& cluster_id) {
  return "arn:aws:sagemaker:" + site.region + ":" + site.account + ":cluster/" + cluster_id;
}

std::optional<ClusterRef> read_cluster_ref(const std::string& name_or_arn, const Site& site) {
  if (!name_or_arn.starts_with("arn:")) return ClusterRef{name_or_arn, ""};
  const std::string wanted = ":sagemaker:" + site.region + ":" + site.account + ":cluster/";
  const std::size_t at = name_or_arn.find(wanted);
  if (at == std::string::npos) return std::nullopt;
  return ClusterRef{"", name_or_arn.substr(at + wanted.size())};
}

std::string instance_id(const std::string& cluster_id, NodeId node) {
  return instance_prefix(cluster_id) + hex_of(node.value, 8);
}

NodeId read_instance_id(const std::string& cluster_id, std::string_view text) {
  const std::string prefix = instance_prefix(cluster_id);
  if (!text.starts_with(prefix) || text.size() != prefix.size() + 8) return {};
  return {static_cast<std::uint32_t>(read_hex(text.substr(prefix.size())).value_or(0))};
}

std::string logical_id(const LogicalId& id) {
  return id.group + "-" + std::to_string(id.place);
}

std::optional<LogicalId> read_logical_id(std::string_view text) {
  const std::size_t dash = text.rfind('-');
  if (dash == std::string_view::npos || dash == 0) return std::nullopt;
  LogicalId id{std::string(text.substr(0, dash)), 0};
  const auto [end, error] =
      std::from_chars(text.data() + dash + 1, text.data() + text.size(), id.place);
  // Only what was written here: "workers-07" is no other name of "workers-7".
  if (error != std::errc{} || end != text.data() + text.size() || logical_id(id) != text)
    return std::nullopt;
  return id;
}

std::string event_id(const std::string& cluster_id, std::uint64_t sequence) {
  const std::string cluster = hex_of(digest_of(cluster_id), 15);
  const std::string number = hex_of(sequence, 15);
  return cluster.substr(0, 8) + "-" + cluster.substr(8, 4) + "-8" + cluster.substr(12) + "-8" +
         number.substr(0, 3) + "-" + number.substr(3);
}

std::optional<std::uint64_t> read_event_id(const std::string& cluster_id, std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  const auto number = read_hex(std::string(text.substr(20, 3)) + std::string(text.substr(24)));
  if (!number || event_id(cluster_id, *number) != text) return std::nullopt;
  return number;
}

std::string private_dns_name(const std::string& address) {
  if (!is_ipv4(address)) return "";
  std::string name = address;
  std::ranges::replace(name, '.', '-');
  return "ip-" + name + ".holdfast.internal";
}

std::string hex_of(std::uint64_t value, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 0xF];
  return text;
}

std::optional<std::uint64_t> read_hex(std::string_view text) {
  const bool is_hex = std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (text.empty() || text.size() > 16 || !is_hex) return std::nullopt;
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

}  // namespace holdfast::hyperpod
