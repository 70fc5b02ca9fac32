// The listener and the front door of the HyperPod API with nothing behind them, for clients to be
// tried against: api_door FOLDER [--tls]
//
// Makes an access key of each role and prints one line of JSON, {"port": ..., "ca": FILE or null,
// "keys": {"viewer": {"id": ..., "secret": ...}, ...}}, then serves until standard input ends.
// Every operation that the caller may call is answered with ListClusters' empty answer, and the
// number of calls that got so far: {"ClusterSummaries": [], "NextToken": "7"}.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>

#include <nlohmann/json.hpp>

#include "apps/front_door.h"
#include "io/access_keys.h"
#include "io/api_server.h"
#include "io/audit_log.h"
#include "io/certificates.h"
#include "io/clock.h"
#include "io/files.h"

namespace holdfast {
namespace {

Result<TlsFiles> make_certificate(const std::string& folder) {
  HF_TRY(const ClusterCa ca, ClusterCa::create(folder, "bench", wall_now()));
  HF_TRY(const Credentials server, ca.issue("server", Role::kServer, {}, minutes(60), wall_now()));
  const TlsFiles files{folder + "/ca.crt", folder + "/server.crt", folder + "/server.key"};
  HF_TRY_VOID(write_file_atomic(files.certificate, server.certificate_pem, 0600));
  HF_TRY_VOID(write_file_atomic(files.key, server.key_pem, 0600));
  return files;
}

Result<void> serve(const std::string& folder, bool with_tls) {
  HF_TRY(const auto keys, AccessKeys::open(folder));
  HF_TRY(const auto log, AuditLog::open(folder + "/audit.log"));
  HF_TRY(const auto seen, SeenFile::open(folder + "/seen_requests", wall_now()));
  nlohmann::json told{{"ca", nullptr}};
  for (const auto role : {AccessRole::kViewer, AccessRole::kOperator, AccessRole::kAdmin}) {
    HF_TRY(const NewAccessKey made, keys->create(role, wall_now()));
    told["keys"][std::string(word_of(role))] = {{"id", made.key.id}, {"secret", made.secret}};
  }
  // Past what a client can send: the limits have tests of their own.
  const FrontDoorLimits open{.all_per_second = 1'000'000,
                             .all_burst = 1'000'000,
                             .key_per_second = 1'000'000,
                             .key_burst = 1'000'000};
  std::atomic<int> calls = 0;
  FrontDoor door(
      *keys, *log, *seen, "us-east-1",
      [&](const Caller&, std::string_view, const std::string&) {
        return HttpResponse{
            200, R"({"ClusterSummaries": [], "NextToken": ")" + std::to_string(++calls) + "\"}"};
      },
      open);
  ApiServerOptions options;
  if (with_tls) {
    HF_TRY(options.tls, make_certificate(folder));
    told["ca"] = options.tls->ca;
  }
  HF_TRY(const auto server, ApiServer::start(options, [&](const HttpRequest& request) {
           return door.answer(request);
         }));
  told["port"] = server->port();
  std::printf("%s\n", told.dump().c_str());
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
  return {};
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc < 2) {
    std::fprintf(stderr, "usage: api_door FOLDER [--tls]\n");
    return 2;
  }
  const auto served = holdfast::serve(argv[1], argc > 2 && std::string(argv[2]) == "--tls");
  if (served.ok()) return 0;
  std::fprintf(stderr, "%s\n", served.error().text().c_str());
  return 1;
}
