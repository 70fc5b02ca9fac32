#include "io/host_files.h"

#include <algorithm>
#include <charconv>

#include "io/utf8.h"

namespace holdfast {
namespace {

std::string_view next_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  const auto end = std::min(line.find_first_of(" \t"), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

template <class T>
std::optional<T> whole(std::string_view text, int base = 10) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// The kernel writes a space in a path as \040.
std::string unescape(std::string_view text) {
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto code = text[i] == '\\' && i + 3 < text.size()
                          ? whole<std::uint8_t>(text.substr(i + 1, 3), 8)
                          : std::nullopt;
    path += code ? static_cast<char>(*code) : text[i];
    if (code) i += 3;
  }
  return valid_utf8(path);
}

}  // namespace

std::optional<MemoryFile> parse_meminfo(std::string_view text) {
  MemoryFile memory;
  bool total = false, available = false;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view name = next_word(line);
    const auto kib = whole<std::uint64_t>(next_word(line));
    if (!kib || *kib > (std::uint64_t{1} << 53)) continue;
    if (name == "MemTotal:") memory.total_bytes = *kib * 1024, total = true;
    if (name == "MemAvailable:") memory.available_bytes = *kib * 1024, available = true;
  }
  if (!total || !available) return std::nullopt;
  return memory;
}

std::optional<std::uint32_t> parse_pressure(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (next_word(line) != "full") continue;
    for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
      if (!word.starts_with("avg60=")) continue;
      word.remove_prefix(6);
      const auto dot = word.find('.');  // "12.34": per cent
      const auto percent = whole<std::uint32_t>(word.substr(0, dot));
      if (!percent || *percent > 100) return std::nullopt;
      const bool has_tenth = dot != std::string_view::npos && dot + 1 < word.size();
      const char tenth = has_tenth ? word[dot + 1] : '0';
      if (tenth < '0' || tenth > '9') return std::nullopt;
      return *percent * 10 + static_cast<std::uint32_t>(tenth - '0');
    }
  }
  return std::nullopt;
}

std::vector<MountReading> parse_mounts(std::string_view text) {
  std::vector<MountReading> mounts;
  constexpr std::size_t kMountsMax = 256;
  while (!text.empty() && mounts.size() < kMountsMax) {
    std::string_view line = next_line(text);
    MountReading mount;
    mount.device = unescape(next_word(line));
    mount.path = unescape(next_word(line));
    const std::string_view type = next_word(line);
    std::string_view options = next_word(line);
    const bool is_served = type.starts_with("nfs") || type == "lustre" || type == "ceph" ||
                           type == "beegfs" || type == "gpfs";
    const bool is_image = type == "squashfs" || type == "iso9660" || type == "erofs";
    if (mount.path.empty() || is_image) continue;
    if (!is_served && !mount.device.starts_with("/dev/") && mount.path != "/") continue;
    // A file that is bound into a container is no file system of its own.
    const bool seen = std::ranges::any_of(mounts, [&](const MountReading& one) {
      return one.device == mount.device && mount.device.starts_with("/dev/");
    });
    if (seen) continue;
    while (!options.empty()) {
      const auto comma = std::min(options.find(','), options.size());
      if (options.substr(0, comma) == "ro") mount.read_only = true;
      options.remove_prefix(std::min(comma + 1, options.size()));
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::optional<ProcessFile> parse_process_stat(std::string_view text) {
  // "123 (name, which may hold ) and spaces) S ..."
  const auto open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  std::string_view before = text.substr(0, open), after = text.substr(close + 1);
  const auto pid = whole<std::int32_t>(next_word(before));
  const std::string_view state = next_word(after);
  if (!pid || state.size() != 1) return std::nullopt;
  return ProcessFile{*pid, valid_utf8(text.substr(open + 1, close - open - 1)), state[0]};
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const std::string_view word = text.substr(0, text.find_last_not_of(" \t\n\r") + 1);
  if (word.starts_with("0x")) return whole<std::uint64_t>(word.substr(2), 16);
  return whole<std::uint64_t>(word);
}

bool parse_smart_log(std::string_view bytes, DriveReading& drive) {
  if (bytes.size() < 512) return false;
  const auto byte = [&](std::size_t at) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at]));
  };
  drive.critical_warning = byte(0);
  drive.spare_percent = byte(3);
  drive.spare_percent_min = byte(4);
  drive.used_percent = byte(5);
  return true;
}

std::string pci_kind(std::uint64_t vendor, std::uint64_t device_class) {
  constexpr std::uint64_t kNvidia = 0x10de;
  switch (device_class >> 8) {  // class and subclass
    case 0x0300:                // a display: one without a driver of ours too
      return vendor == kNvidia ? "accelerator" : "";
    case 0x0302:
    case 0x1200:
      return "accelerator";
    case 0x0200:
    case 0x0207:
      return "network";
    case 0x0108:
      return "drive";
    default:
      return {};
  }
}

}  // namespace holdfast
