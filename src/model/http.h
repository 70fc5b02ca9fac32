#pragma once

// What io/http_server, io/api_server, io/http_client and api/rest say to each other: HTTP without
// its sockets.

#include <map>
#include <string>

namespace holdfast {

struct HttpRequest {
  std::string method;  // "GET", "POST"
  std::string path;    // decoded, without the query
  std::map<std::string, std::string> query;
  std::string body;
  // What io/api_server adds, for who verifies signatures.
  std::string target;                          // path and query as sent
  std::map<std::string, std::string> headers;  // names in lower case; several of one: joined with ,
  std::string address;                         // of the peer, without its port
  std::string id;                              // a new one for each request
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string type = "application/json";
};

// PEM files. Each side shows `certificate` and trusts only what `ca` has signed.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
};

}  // namespace holdfast
