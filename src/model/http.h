#pragma once

// What io/http_server, io/http_client and api/rest say to each other: HTTP without its sockets.

#include <map>
#include <string>

namespace holdfast {

struct HttpRequest {
  std::string method;  // "GET", "POST"
  std::string path;    // decoded, without the query
  std::map<std::string, std::string> query;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string body;  // JSON
};

// PEM files. Each side shows `certificate` and trusts only what `ca` has signed.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
};

}  // namespace holdfast
