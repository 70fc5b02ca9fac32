#include "api/inventory_file.h"

#include <algorithm>
#include <set>

#include "api/strict_fields.h"

namespace holdfast {
namespace {

constexpr TextKind kFile = {"inventory", "four"};
constexpr std::size_t kHostsMax = 10'000;

// What is put into a command line of a shell or of ssh.
bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= 255 && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == ':';
         });
}

class InventoryReader : private FieldReader {
 public:
  InventoryReader(const std::string& file, std::string folder)
      : FieldReader(file, "inventory"), folder_(std::move(folder)) {}

  Result<Inventory> read(const FieldValue& root) {
    const FieldValue* hosts = nullptr;
    read_fields(root, "",
                {{"known_hosts", path_into(inventory_.known_hosts)},
                 {"defaults",
                  [this](auto& value, auto& path) { read_host(value, path, defaults_, false); }},
                 {"hosts", [&](auto& value, auto&) { hosts = &value; }}});
    if (!error() && inventory_.known_hosts.empty())
      fail(Errc::kInvalidField, root, "known_hosts",
           "missing; name the file that has the hosts' keys, as `ssh-keyscan` writes it");
    if (!error() && hosts == nullptr)
      fail(Errc::kInvalidField, root, "hosts", "missing; list the machines");
    if (!error())
      read_list(*hosts, "hosts", [this](auto& value, auto& path) {
        InventoryHost host = defaults_;
        read_host(value, path, host, true);
        inventory_.hosts.push_back(std::move(host));
      });
    if (!error()) check_all(*hosts);
    if (error()) return *error();
    return std::move(inventory_);
  }

 private:
  void read_host(const FieldValue& value, const std::string& path, InventoryHost& host,
                 bool is_one) {
    std::vector<Field> known = {{"user", plain_into(host.user)},
                                {"port", count_into(host.port)},
                                {"key", path_into(host.key)},
                                {"folder", text_into(host.folder)},
                                {"instance_type", text_into(host.instance_type)},
                                {"group", text_into(host.group)}};
    if (is_one) {
      known.push_back({"name", plain_into(host.name)});
      known.push_back({"address", plain_into(host.address)});
      known.push_back({"spare", flag_into(host.is_spare)});
      known.push_back({"spine", text_into(host.spine)});
      known.push_back({"rack", text_into(host.rack)});
      known.push_back({"power", [&](auto& power, auto& at) { read_power(power, at, host.power); }});
    }
    read_fields(value, path, known);
    if (error()) return;
    if (host.port < 1 || host.port > 65535)
      wrong_type(value, path + ".port", "give 1 to 65535");
    else if (!host.folder.starts_with("/") || host.folder.size() < 2 ||
             host.folder.find('\'') != std::string::npos)
      wrong_type(value, path + ".folder", "give a folder of its own that begins with /");
    else if (is_one && host.name.empty())
      fail(Errc::kInvalidField, value, path + ".name", "missing; give the host a name");
    else if (is_one && host.address.empty())
      fail(Errc::kInvalidField, value, path + ".address", "missing; say where it is reached");
  }

  void read_power(const FieldValue& value, const std::string& path,
                  decltype(InventoryHost::power)& power) {
    if (value.kind == FieldValue::Kind::kScalar && value.text == "none") {
      power = std::monostate();
      return;
    }
    read_fields(value, path,
                {{"redfish",
                  [&](auto& given, auto& at) {
                    RedfishPower& redfish = power.emplace<RedfishPower>();
                    read_fields(given, at,
                                {{"url", text_into(redfish.url)},
                                 {"user", text_into(redfish.user)},
                                 {"password_file", path_into(redfish.password_file)},
                                 {"ca", path_into(redfish.ca)}});
                    if (error()) return;
                    if (!redfish.url.starts_with("https://"))
                      fail(Errc::kInvalidField, given, at + ".url",
                           "'" + redfish.url + "' is not allowed; give https://HOST");
                    need(given, at, redfish.user, redfish.password_file);
                  }},
                 {"ipmi", [&](auto& given, auto& at) {
                    IpmiPower& ipmi = power.emplace<IpmiPower>();
                    read_fields(given, at,
                                {{"address", plain_into(ipmi.address)},
                                 {"user", plain_into(ipmi.user)},
                                 {"password_file", path_into(ipmi.password_file)}});
                    if (!error() && ipmi.address.empty())
                      fail(Errc::kInvalidField, given, at + ".address",
                           "missing; give the controller's");
                    if (!error()) need(given, at, ipmi.user, ipmi.password_file);
                  }}});
  }

  void need(const FieldValue& value, const std::string& path, const std::string& user,
            const std::string& password_file) {
    if (user.empty()) fail(Errc::kInvalidField, value, path + ".user", "missing");
    if (!error() && password_file.empty())
      fail(Errc::kInvalidField, value, path + ".password_file",
           "missing; name a file that only the server's user can read");
  }

  void check_all(const FieldValue& hosts) {
    if (inventory_.hosts.empty() || inventory_.hosts.size() > kHostsMax)
      return wrong_type(hosts, "hosts", "list 1 to 10000 hosts");
    std::set<std::string> names;
    for (const InventoryHost& host : inventory_.hosts)
      if (!names.insert(host.name).second)
        return fail(Errc::kInvalidField, hosts, "hosts",
                    "name '" + host.name + "' is there twice; each host has one of its own");
  }

  Read plain_into(std::string& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      text_into(out)(value, path);
      if (!error() && !is_plain(out))
        wrong_type(value, path, "letters, digits and . - _ : are allowed, and no - in front");
    };
  }
  Read path_into(std::string& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      text_into(out)(value, path);
      if (!error() && !out.empty() && out.front() != '/') out = folder_ + "/" + out;
    };
  }

  const std::string folder_;
  InventoryHost defaults_;
  Inventory inventory_;
};

}  // namespace

Result<Inventory> parse_inventory_file(std::string_view text, const std::string& file,
                                       const std::string& folder) {
  HF_TRY(const FieldValue root, parse_yaml(text, file, kFile));
  return InventoryReader(file, folder).read(root);
}

}  // namespace holdfast
