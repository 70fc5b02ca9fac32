#include "api/inventory_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::HasSubstr;

Result<Inventory> parse(const std::string& text) {
  return parse_inventory_file(text, "inv.yaml", "/etc/holdfast");
}
std::string error_of(const std::string& text) {
  const auto parsed = parse(text);
  return parsed.ok() ? "" : parsed.error().text();
}

TEST(InventoryFile, IsReadWithItsDefaults) {
  const auto inventory = parse(R"(known_hosts: known_hosts
defaults: {user: ops, key: id_ed25519, folder: /srv/holdfast, port: 2222}
hosts:
  - name: gpu-01
    address: 10.0.0.11
    instance_type: p5
    group: workers
    spine: s1
    rack: r7
    power: {redfish: {url: "https://bmc", user: admin, password_file: bmc.pw, ca: /etc/bmc.pem}}
  - {name: gpu-02, address: 10.0.0.12, user: root, spare: true, power: none}
  - {name: gpu-03, address: "fe80::1", power: {ipmi: {address: b, user: u, password_file: p}}}
)");
  ASSERT_TRUE(inventory.ok()) << inventory.error().text();
  EXPECT_EQ(inventory->known_hosts, "/etc/holdfast/known_hosts");
  const InventoryHost& first = inventory->hosts.at(0);
  EXPECT_EQ(first.user, "ops");
  EXPECT_EQ(first.key, "/etc/holdfast/id_ed25519");
  EXPECT_EQ(first.port, 2222u);
  EXPECT_EQ(first.rack, "r7");
  const auto& redfish = std::get<RedfishPower>(first.power);
  EXPECT_EQ(redfish.password_file, "/etc/holdfast/bmc.pw");
  EXPECT_EQ(redfish.ca, "/etc/bmc.pem");
  EXPECT_EQ(inventory->hosts.at(1).user, "root");
  EXPECT_TRUE(inventory->hosts.at(1).is_spare);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(inventory->hosts.at(1).power));
  EXPECT_EQ(std::get<IpmiPower>(inventory->hosts.at(2).power).user, "u");
}

TEST(InventoryFile, SaysWhatIsWrong) {
  const std::string start = "known_hosts: k\nhosts:\n";
  EXPECT_THAT(error_of("hosts: [{name: a, address: b}]"), HasSubstr("known_hosts: missing"));
  EXPECT_THAT(error_of("known_hosts: k"), HasSubstr("hosts: missing"));
  EXPECT_THAT(error_of("known_hosts: k\nhosts: []"), HasSubstr("list 1 to 10000"));
  EXPECT_THAT(error_of(start + " - {name: a}"), HasSubstr("hosts[0].address: missing"));
  EXPECT_THAT(error_of(start + " - {address: a}"), HasSubstr("hosts[0].name: missing"));
  EXPECT_THAT(error_of(start + " - {name: a, adress: b}"), HasSubstr("address"));
  EXPECT_THAT(error_of(start + " - {name: a, address: -oProxyCommand}"), HasSubstr("no - in"));
  EXPECT_THAT(error_of(start + " - {name: a, address: 'b;rm'}"), HasSubstr("are allowed"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b, port: 70000}"), HasSubstr("65535"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b, folder: x}"), HasSubstr("folder"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b}\n - {name: a, address: c}"),
              HasSubstr("'a' is there twice"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b, power: {redfish: {url: 'http://x'}}}"),
              HasSubstr("https://HOST"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b, power: {ipmi: {address: b, user: u}}}"),
              HasSubstr("password_file: missing"));
  EXPECT_THAT(error_of(start + " - {name: a, address: b, power: {steam: {}}}"), HasSubstr("steam"));
}

}  // namespace
}  // namespace holdfast
