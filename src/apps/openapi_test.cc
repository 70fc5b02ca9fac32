// Holds the parser of requests (api/rest.h) and docs/openapi.yaml together.

#include "apps/openapi.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/rest.h"

namespace holdfast {
namespace {

struct Route {
  std::string method;
  std::string path;  // with its parameters filled in
  std::map<std::string, std::string> query;
  std::string body;
};

YAML::Node resolve(const YAML::Node& document, const YAML::Node& node) {
  if (!node["$ref"]) return node;
  const std::string name = node["$ref"].as<std::string>();  // "#/components/parameters/node"
  return document["components"]["parameters"][name.substr(name.rfind('/') + 1)];
}

// JSON of a flat example: texts, whole numbers, truth values and lists of texts.
std::string json_text(const YAML::Node& node) {
  if (node.IsMap()) {
    std::string text;
    for (const auto& item : node)
      text += (text.empty() ? "{" : ", ") + json_text(item.first) + ": " + json_text(item.second);
    return text + "}";
  }
  if (node.IsSequence()) {
    std::string text;
    for (const auto& item : node) text += (text.empty() ? "[" : ", ") + json_text(item);
    return text + "]";
  }
  const std::string text = node.as<std::string>();
  const bool is_bare = text == "true" || text == "false" ||
                       (!text.empty() && text.find_first_not_of("0123456789") == text.npos);
  return is_bare ? text : "\"" + text + "\"";
}

// By operationId, each with the examples of its parameters and body.
std::map<std::string, Route> documented() {
  const YAML::Node document = YAML::Load(view_openapi().body);
  std::map<std::string, Route> routes;
  for (const auto& path : document["paths"]) {
    for (const char* method : {"get", "post", "put", "delete", "patch"}) {
      const YAML::Node operation = path.second[method];
      if (!operation) continue;
      Route route{method, path.first.as<std::string>(), {}, {}};
      for (char& c : route.method) c = static_cast<char>(c - 'a' + 'A');
      for (const YAML::Node& list : {path.second["parameters"], operation["parameters"]}) {
        for (const auto& entry : list) {
          const YAML::Node parameter = resolve(document, entry);
          const std::string name = parameter["name"].as<std::string>();
          const std::string example = parameter["example"].as<std::string>();
          if (parameter["in"].as<std::string>() == "query")
            route.query[name] = example;
          else
            route.path.replace(route.path.find("{" + name + "}"), name.size() + 2, example);
        }
      }
      if (const YAML::Node body = operation["requestBody"])
        route.body = json_text(body["content"]["application/json"]["example"]);
      const std::string id = operation["operationId"].as<std::string>();
      EXPECT_TRUE(routes.emplace(id, route).second) << id << " is there twice";
    }
  }
  return routes;
}

HttpRequest request_of(const Route& route) {
  return {.method = route.method, .path = route.path, .query = route.query, .body = route.body};
}

TEST(OpenApi, IsServedAsYaml) {
  EXPECT_EQ(view_openapi().status, 200);
  EXPECT_EQ(view_openapi().type, "application/yaml");
  EXPECT_TRUE(std::holds_alternative<ask::OpenApi>(
      parse_request({.method = "GET", .path = "/v1/openapi"}).value()));
}

// Both ways: each operation is a request of its own, and each kind of request has its operation.
TEST(OpenApi, EveryRouteOfTheParserAndNoOther) {
  std::map<std::size_t, std::string> by_ask;
  for (const auto& [id, route] : documented()) {
    const auto ask = parse_request(request_of(route));
    ASSERT_TRUE(ask.ok()) << id << ": " << ask.error().text() << "\n" << route.body;
    const auto [at, is_new] = by_ask.emplace(ask->index(), id);
    EXPECT_TRUE(is_new) << id << " is the same request as " << at->second;
  }
  EXPECT_EQ(by_ask.size(), std::variant_size_v<Ask>);
}

// No way through the parser but those: all words at all places, with either method.
TEST(OpenApi, NoOtherPathIsTaken) {
  std::set<std::pair<std::string, std::string>> known;
  std::set<std::string> words{"x1"}, bodies{"", "{}"};
  for (const auto& [id, route] : documented()) {
    known.emplace(route.method, route.path);
    bodies.insert(route.body);
    for (std::size_t begin = 1; begin < route.path.size();) {
      const std::size_t end = std::min(route.path.find('/', begin), route.path.size());
      words.insert(route.path.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  // Any word names a job: it stands for the one of the document.
  const auto as_documented = [](std::string path) {
    constexpr std::string_view jobs = "/v1/jobs/";
    if (path.starts_with(jobs))
      path.replace(jobs.size(), path.find('/', jobs.size()) - jobs.size(), "gpt-small");
    return path;
  };
  std::vector<std::string> paths{""};
  for (int depth = 1; depth <= 4; ++depth) {
    std::vector<std::string> longer;
    for (const std::string& path : paths)
      for (const std::string& word : words)
        if (depth > 1 || word == "v1") longer.push_back(path + "/" + word);
    for (const std::string& path : longer) {
      for (const char* method : {"GET", "POST", "PUT", "DELETE"}) {
        if (known.contains({method, as_documented(path)})) continue;
        for (const std::string& body : bodies)
          EXPECT_FALSE(parse_request({.method = method, .path = path, .body = body}).ok())
              << method << " " << path << " is not in the document";
      }
    }
    paths = std::move(longer);
  }
}

}  // namespace
}  // namespace holdfast
