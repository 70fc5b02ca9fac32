#include "io/s3_config.h"

#include <algorithm>
#include <cstdlib>

#include "io/files.h"

namespace holdfast {
namespace {

constexpr std::string_view kScheme = "s3://";
constexpr std::string_view kSpace = " \t\r";
constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_bucket_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  };
  return name.size() >= 3 && name.size() <= 255 && std::ranges::all_of(name, allowed) &&
         name.find("..") == name.npos;
}

// One after another; empty when none is set.
std::string first_of(const AwsSources& sources, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto value = sources.variable(name);
    if (value && !value->empty()) return *value;
  }
  return "";
}

struct Profile {
  std::string name;
  std::string credentials_path, config_path;
  AwsFile credentials, config;

  [[nodiscard]] static std::string value(const AwsFile& file, const std::string& section,
                                         const std::string& key) {
    const auto at = file.find(section);
    if (at == file.end()) return "";
    const auto found = at->second.find(key);
    return found == at->second.end() ? "" : found->second;
  }
  [[nodiscard]] std::string config_section() const {
    return name == "default" ? name : "profile " + name;
  }
  [[nodiscard]] std::string configured(const std::string& key) const {
    return value(config, config_section(), key);
  }
};

Result<AwsFile> load_file(const AwsSources& sources, const std::string& path) {
  HF_TRY(const std::optional<std::string> text, sources.file(path));
  return text ? parse_aws_file(*text, path) : Result<AwsFile>(AwsFile{});
}

Result<Profile> load_profile(const AwsSources& sources) {
  Profile profile;
  profile.name = first_of(sources, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"});
  const bool asked = !profile.name.empty();
  if (!asked) profile.name = "default";
  const std::string home = first_of(sources, {"HOME"});
  profile.credentials_path = first_of(sources, {"AWS_SHARED_CREDENTIALS_FILE"});
  if (profile.credentials_path.empty()) profile.credentials_path = home + "/.aws/credentials";
  profile.config_path = first_of(sources, {"AWS_CONFIG_FILE"});
  if (profile.config_path.empty()) profile.config_path = home + "/.aws/config";
  HF_TRY(profile.credentials, load_file(sources, profile.credentials_path));
  HF_TRY(profile.config, load_file(sources, profile.config_path));
  if (asked && !profile.credentials.contains(profile.name) &&
      !profile.config.contains(profile.config_section()))
    return Error{Errc::kInvalidField, "AWS_PROFILE: there is no profile `" + profile.name +
                                          "` in " + profile.credentials_path + " or " +
                                          profile.config_path + "; add it or name another"};
  return profile;
}

Result<void> set_credentials(const AwsSources& sources, const Profile& profile, S3Config& config) {
  config.credentials.access_key_id = first_of(sources, {"AWS_ACCESS_KEY_ID"});
  config.credentials.secret_access_key = first_of(sources, {"AWS_SECRET_ACCESS_KEY"});
  if (config.credentials.access_key_id.empty() != config.credentials.secret_access_key.empty())
    return Error{Errc::kStoreRefused,
                 "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set; set both, or "
                 "neither and use a profile"};
  if (!config.credentials.access_key_id.empty()) {
    config.credentials.session_token = first_of(sources, {"AWS_SESSION_TOKEN"});
    config.credentials_source = "AWS_ACCESS_KEY_ID in the environment";
    return {};
  }
  const auto from = [&](const AwsFile& file, const std::string& section, const std::string& path) {
    config.credentials = {Profile::value(file, section, "aws_access_key_id"),
                          Profile::value(file, section, "aws_secret_access_key"),
                          Profile::value(file, section, "aws_session_token")};
    config.credentials_source = "profile " + profile.name + " in " + path;
    return !config.credentials.access_key_id.empty() &&
           !config.credentials.secret_access_key.empty();
  };
  if (from(profile.credentials, profile.name, profile.credentials_path) ||
      from(profile.config, profile.config_section(), profile.config_path))
    return {};
  return Error{Errc::kStoreRefused,
               "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put "
               "aws_access_key_id and aws_secret_access_key of profile " +
                   profile.name + " into " + profile.credentials_path};
}

Result<std::string> endpoint_of(const AwsSources& sources, const Profile& profile) {
  std::string endpoint = first_of(sources, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  const std::string services = profile.configured("services");
  if (endpoint.empty() && !services.empty())
    endpoint = Profile::value(profile.config, "services " + services, "s3.endpoint_url");
  if (endpoint.empty()) endpoint = profile.configured("s3.endpoint_url");
  if (endpoint.empty()) endpoint = profile.configured("endpoint_url");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.empty()) return endpoint;
  const std::size_t host = endpoint.find("://") + 3;
  const bool known = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  if (!known || host >= endpoint.size() || endpoint.find_first_of("/?#@ ", host) != endpoint.npos)
    return Error{Errc::kInvalidField,
                 "the endpoint of S3 (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url) is "
                 "not http(s)://HOST[:PORT]"};
  return endpoint;
}

}  // namespace

bool is_s3_url(std::string_view text) {
  return text.starts_with(kScheme);
}

Result<S3Url> parse_s3_url(std::string_view text) {
  const std::string shown(text);
  if (!is_s3_url(text))
    return Error{Errc::kInvalidField, "`" + shown + "` is not of the form s3://BUCKET/PREFIX"};
  text.remove_prefix(kScheme.size());
  const std::size_t slash = text.find('/');
  S3Url url{std::string(text.substr(0, slash)), ""};
  if (!is_bucket_name(url.bucket))
    return Error{Errc::kInvalidField, "`" + shown + "`: `" + url.bucket +
                                          "` is no name of a bucket: 3 to 63 of a-z, 0-9, - and ."};
  if (slash == text.npos) return url;
  text.remove_prefix(slash + 1);
  while (text.ends_with('/')) text.remove_suffix(1);
  // An empty or dotted part would be a different key for the store than for who reads the URL.
  std::string padded = "/";
  padded.append(text).append("/");
  const bool odd = std::ranges::any_of(text, [](char c) { return c >= 0 && c < ' '; });
  if (!text.empty() && (odd || padded.find("//") != padded.npos ||
                        padded.find("/./") != padded.npos || padded.find("/../") != padded.npos))
    return Error{Errc::kInvalidField,
                 "`" + shown + "`: the prefix has an empty part, `.`, `..` or a control character"};
  url.prefix = text;
  return url;
}

Result<AwsFile> parse_aws_file(std::string_view text, const std::string& path) {
  AwsFile file;
  std::map<std::string, std::string>* section = nullptr;
  std::string block;  // the key whose indented block we are in
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::string_view body = trim(line);
    if (body.empty() || body.front() == '#' || body.front() == ';') continue;
    const bool indented = line.front() == ' ' || line.front() == '\t';
    const auto wrong = [&](const char* what) {
      return Error{Errc::kUnparsable, path + ": line " + std::to_string(number) + what};
    };
    if (!indented && body.front() == '[') {
      if (body.back() != ']') return wrong(": a section's name ends with `]`");
      section = &file[std::string(trim(body.substr(1, body.size() - 2)))];
      block.clear();
      continue;
    }
    const std::size_t equals = body.find('=');
    if (equals == body.npos || equals == 0) return wrong(" is neither [section] nor key = value");
    if (section == nullptr) return wrong(" stands before the first [section]");
    std::string key(trim(body.substr(0, equals)));
    const std::string value(trim(body.substr(equals + 1)));
    if (indented && !block.empty()) {
      (*section)[block + "." + key] = value;
      continue;
    }
    block = value.empty() ? key : "";
    (*section)[std::move(key)] = value;
  }
  return file;
}

AwsSources process_aws_sources() {
  return {[](const std::string& name) -> std::optional<std::string> {
            const char* value = ::getenv(name.c_str());
            return value == nullptr ? std::nullopt : std::optional<std::string>(value);
          },
          [](const std::string& path) -> Result<std::optional<std::string>> {
            auto text = read_file(path, kFileBytesMax);
            if (text.ok()) return std::optional<std::string>(std::move(*text));
            if (text.error().code == Errc::kNotFound) return std::optional<std::string>();
            return text.error();
          }};
}

Result<S3Config> s3_config(const AwsSources& sources) {
  HF_TRY(const Profile profile, load_profile(sources));
  S3Config config;
  HF_TRY_VOID(set_credentials(sources, profile, config));
  config.region = first_of(sources, {"AWS_REGION", "AWS_DEFAULT_REGION"});
  if (config.region.empty()) config.region = profile.configured("region");
  if (config.region.empty()) config.region = "us-east-1";
  HF_TRY(config.endpoint, endpoint_of(sources, profile));
  const bool custom = !config.endpoint.empty();
  if (!custom) config.endpoint = "https://s3." + config.region + ".amazonaws.com";
  const std::string style = profile.configured("s3.addressing_style");
  if (!style.empty() && style != "path" && style != "virtual" && style != "auto")
    return Error{Errc::kInvalidField, profile.config_path + ": s3.addressing_style: `" + style +
                                          "` is not path, virtual or auto"};
  config.path_style = style == "path" || (style != "virtual" && custom);
  config.ca_bundle = first_of(sources, {"AWS_CA_BUNDLE"});
  if (config.ca_bundle.empty()) config.ca_bundle = profile.configured("ca_bundle");
  return config;
}

}  // namespace holdfast
