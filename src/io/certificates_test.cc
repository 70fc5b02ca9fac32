#include "io/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <memory>
#include <string>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr WallTime kNow{1'767'225'600'000'000'000};  // 2026-01-01
constexpr Duration kHour = seconds(3600);

using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;

X509Ptr parse(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509Ptr certificate(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), X509_free);
  BIO_free(bio);
  return certificate;
}

// X509_V_OK or the reason why `pem` cannot be used.
int verify(const ClusterCa& ca, const std::string& pem, const char* purpose, WallTime now) {
  const X509Ptr root = parse(ca.certificate_pem());
  const X509Ptr certificate = parse(pem);
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, root.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, certificate.get(), nullptr);
  X509_STORE_CTX_set_default(context, purpose);
  X509_STORE_CTX_set_time(context, 0, static_cast<time_t>(now.ns / 1'000'000'000));
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return error;
}

class CertificatesTest : public ScratchFolder {
 protected:
  ClusterCa make_ca(const std::string& name, const std::string& uuid) {
    CHECK(make_folder(path(name), 0700).ok());
    auto ca = ClusterCa::create(path(name), uuid, kNow);
    CHECK(ca.ok());
    return std::move(ca).value();
  }

  ClusterCa ca_ = make_ca("ca", "uuid-1");
};

TEST_F(CertificatesTest, ACaIsMadeOnceAndLoaded) {
  EXPECT_EQ(ca_.cluster(), "uuid-1");
  const auto again = ClusterCa::create(path("ca"), "uuid-2", kNow);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Errc::kWrongState);
  const auto loaded = ClusterCa::load(path("ca"));
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  EXPECT_EQ(loaded->cluster(), "uuid-1");
  EXPECT_EQ(loaded->certificate_pem(), ca_.certificate_pem());
  EXPECT_EQ(loaded->derived_key("x"), ca_.derived_key("x"));
  EXPECT_NE(loaded->derived_key("x"), ca_.derived_key("y"));
}

TEST_F(CertificatesTest, OnlyTheOwnerReadsTheFiles) {
  for (const char* name : {"ca/ca.key", "ca/ca.crt"}) {
    struct stat status {};
    ASSERT_EQ(::stat(path(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(CertificatesTest, AFolderWithoutAUsableCaIsAnError) {
  const auto none = ClusterCa::load(folder());
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::kNotFound);

  make_ca("other", "uuid-2");
  const auto other_key = read_file(path("other/ca.key"), 4096);
  for (const std::string& key : {std::string("rubbish"), std::string(), *other_key}) {
    ASSERT_TRUE(write_file_atomic(path("ca/ca.key"), key, 0600).ok());
    const auto loaded = ClusterCa::load(path("ca"));
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code, Errc::kStateCorrupt) << loaded.error().text();
  }
}

TEST_F(CertificatesTest, ACertificateSaysWhoItsHolderIs) {
  const auto agent = ca_.issue("n3", Role::kAgent, {}, kHour, kNow);
  ASSERT_TRUE(agent.ok()) << agent.error().text();
  const auto identity = read_identity(agent->certificate_pem);
  ASSERT_TRUE(identity.ok()) << identity.error().text();
  EXPECT_EQ(*identity, (Identity{"n3", "uuid-1", Role::kAgent}));
  EXPECT_FALSE(read_identity(ca_.certificate_pem()).ok());
  EXPECT_FALSE(read_identity("rubbish").ok());
}

TEST_F(CertificatesTest, OnlyAServerPassesForAServer) {
  const auto agent = ca_.issue("n3", Role::kAgent, {}, kHour, kNow);
  const auto server = ca_.issue("server", Role::kServer, {}, kHour, kNow);
  EXPECT_EQ(verify(ca_, agent->certificate_pem, "ssl_client", kNow), X509_V_OK);
  EXPECT_EQ(verify(ca_, server->certificate_pem, "ssl_server", kNow), X509_V_OK);
  EXPECT_EQ(verify(ca_, agent->certificate_pem, "ssl_server", kNow), X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(verify(ca_, server->certificate_pem, "ssl_client", kNow), X509_V_ERR_INVALID_PURPOSE);
}

TEST_F(CertificatesTest, ACertificateEnds) {
  const auto agent = ca_.issue("n3", Role::kAgent, {}, kHour, kNow);
  const auto at = [](Duration after) { return WallTime{kNow.ns + after.ns}; };
  const std::string& pem = agent->certificate_pem;
  EXPECT_EQ(verify(ca_, pem, "ssl_client", at(minutes(-4))), X509_V_OK);
  EXPECT_EQ(verify(ca_, pem, "ssl_client", at(minutes(59))), X509_V_OK);
  EXPECT_EQ(verify(ca_, pem, "ssl_client", at(minutes(61))), X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST_F(CertificatesTest, AnotherClustersCertificateIsNotOurs) {
  const ClusterCa other = make_ca("other", "uuid-1");
  const auto agent = other.issue("n3", Role::kAgent, {}, kHour, kNow);
  EXPECT_NE(verify(ca_, agent->certificate_pem, "ssl_client", kNow), X509_V_OK);
}

TEST_F(CertificatesTest, AServerAnswersToItsHosts) {
  const auto server =
      ca_.issue("server", Role::kServer, {"10.0.0.7", "::1", "head.example"}, kHour, kNow);
  ASSERT_TRUE(server.ok()) << server.error().text();
  const X509Ptr certificate = parse(server->certificate_pem);
  for (const char* address : {"127.0.0.1", "10.0.0.7", "::1"})
    EXPECT_EQ(X509_check_ip_asc(certificate.get(), address, 0), 1) << address;
  for (const char* name : {"localhost", "head.example"})
    EXPECT_EQ(X509_check_host(certificate.get(), name, 0, 0, nullptr), 1) << name;
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.0.0.8", 0), 0);

  for (const char* host : {"", "a,DNS:evil.example", "a b"}) {
    const auto refused = ca_.issue("server", Role::kServer, {host}, kHour, kNow);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kInvalidField);
  }
  for (const std::string& name : {std::string(), std::string(65, 'x')}) {
    const auto refused = ca_.issue(name, Role::kServer, {}, kHour, kNow);
    ASSERT_FALSE(refused.ok()) << name;
    EXPECT_EQ(refused.error().code, Errc::kInvalidField);
  }
}

TEST_F(CertificatesTest, TheCaDecidesTheNameOfARequest) {
  const auto request = make_certificate_request();
  ASSERT_TRUE(request.ok()) << request.error().text();
  EXPECT_THAT(request->key_pem, StartsWith("-----BEGIN PRIVATE KEY"));
  const auto signed_pem = ca_.sign(request->csr_pem, NodeId{7}, kHour, kNow);
  ASSERT_TRUE(signed_pem.ok()) << signed_pem.error().text();
  EXPECT_EQ(*read_identity(*signed_pem), (Identity{"n7", "uuid-1", Role::kAgent}));
  EXPECT_EQ(verify(ca_, *signed_pem, "ssl_client", kNow), X509_V_OK);

  BIO* bio = BIO_new_mem_buf(request->key_pem.data(), static_cast<int>(request->key_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  EXPECT_EQ(X509_check_private_key(parse(*signed_pem).get(), key), 1);
  EVP_PKEY_free(key);
  BIO_free(bio);
}

TEST_F(CertificatesTest, RubbishIsNotARequest) {
  const auto request = make_certificate_request();
  const std::string certificate_as_request = ca_.certificate_pem();
  for (const std::string& csr :
       {std::string(), std::string("rubbish"), certificate_as_request, std::string(100'000, 'A')}) {
    const auto refused = ca_.sign(csr, NodeId{7}, kHour, kNow);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kUnparsable);
  }
  std::string damaged = request->csr_pem;
  damaged[damaged.size() / 2] = damaged[damaged.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(ca_.sign(damaged, NodeId{7}, kHour, kNow).ok());
}

TEST(NodeIdText, OnlyItsOwnTextIsAnId) {
  EXPECT_EQ(parse_node_id("n3"), NodeId{3});
  EXPECT_EQ(parse_node_id("n4294967295"), NodeId{4294967295u});
  for (const char* text : {"", "n", "3", "n0", "n03", "n+3", "n3 ", "j3", "n4294967296", "n-1"})
    EXPECT_EQ(parse_node_id(text), std::nullopt) << text;
}

}  // namespace
}  // namespace holdfast
