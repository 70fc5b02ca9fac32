#include "io/s3_answers.h"

#include <time.h>

#include <charconv>
#include <optional>
#include <pugixml.hpp>

namespace holdfast {
namespace {

constexpr std::size_t kMessageMax = 200;

Error unparsable(const std::string& what) {
  return {Errc::kUnparsable, "the answer of the object store " + what +
                                 "; check that the endpoint is that of an S3 store"};
}

Result<std::uint64_t> number(std::string_view text, const char* field) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size())
    return unparsable(std::string("has no number in ") + field);
  return value;
}

std::string unquoted(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Of encoding-type=url: percent, and + for a space.
std::string url_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      plain += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      plain += text[i] == '+' ? ' ' : text[i];
    }
  }
  return plain;
}

// A listing that some stores do not encode although asked to says so by not naming the encoding.
struct Listing {
  pugi::xml_document document;
  pugi::xml_node root;
  bool encoded = false;
  bool truncated = false;

  [[nodiscard]] std::string decoded(std::string_view text) const {
    return encoded ? url_decoded(text) : std::string(text);
  }
};

Result<void> load(pugi::xml_document& document, std::string_view body) {
  const auto parsed = document.load_buffer(body.data(), body.size());
  if (!parsed) return unparsable(std::string("is not XML: ") + parsed.description());
  return {};
}

Result<void> load_listing(Listing& listing, std::string_view body, const char* root) {
  HF_TRY_VOID(load(listing.document, body));
  listing.root = listing.document.child(root);
  if (!listing.root) return unparsable(std::string("has no ") + root);
  listing.encoded = std::string_view(listing.root.child_value("EncodingType")) == "url";
  const std::string_view truncated = listing.root.child_value("IsTruncated");
  if (truncated != "true" && truncated != "false") return unparsable("has no IsTruncated");
  listing.truncated = truncated == "true";
  return {};
}

S3ErrorAnswer error_in(const pugi::xml_document& document) {
  S3ErrorAnswer answer;
  const pugi::xml_node root = document.child("Error");
  answer.code = root.child_value("Code");
  for (const char c : std::string_view(root.child_value("Message")).substr(0, kMessageMax))
    answer.message += c >= ' ' && c <= '~' ? c : '?';
  const bool plain = answer.code.find_first_not_of(
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                         "abcdefghijklmnopqrstuvwxyz0123456789._-") == answer.code.npos;
  if (!plain || answer.code.size() > kMessageMax) return {};
  return answer;
}

// "2026-11-25T09:30:00.000Z"
std::optional<WallTime> read_time(const char* text) {
  struct tm parts = {};
  const char* end = ::strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr || (*end != 'Z' && *end != '.')) return std::nullopt;
  if (parts.tm_year < 70 || parts.tm_year > 300) return std::nullopt;  // what nanoseconds can hold
  return WallTime{static_cast<std::int64_t>(::timegm(&parts)) * 1'000'000'000};
}

}  // namespace

S3ErrorAnswer read_s3_error(std::string_view body) {
  pugi::xml_document document;
  if (!document.load_buffer(body.data(), body.size())) return {};
  return error_in(document);
}

Result<std::string> read_upload_id(std::string_view body) {
  pugi::xml_document document;
  HF_TRY_VOID(load(document, body));
  std::string id = document.child("InitiateMultipartUploadResult").child_value("UploadId");
  if (id.empty()) return unparsable("has no UploadId");
  return id;
}

Result<S3Completion> read_completion(std::string_view body) {
  pugi::xml_document document;
  HF_TRY_VOID(load(document, body));
  S3Completion completion;
  completion.error = error_in(document);
  if (!completion.error.code.empty()) return completion;
  completion.etag = unquoted(document.child("CompleteMultipartUploadResult").child_value("ETag"));
  if (completion.etag.empty()) return unparsable("has no ETag");
  return completion;
}

Result<S3Page> read_list(std::string_view body) {
  Listing listing;
  HF_TRY_VOID(load_listing(listing, body, "ListBucketResult"));
  S3Page page;
  for (const pugi::xml_node& node : listing.root.children("Contents")) {
    HF_TRY(const std::uint64_t bytes, number(node.child_value("Size"), "Size"));
    page.objects.push_back({listing.decoded(node.child_value("Key")), bytes});
    if (page.objects.back().key.empty()) return unparsable("has an empty Key");
  }
  for (const pugi::xml_node& node : listing.root.children("CommonPrefixes"))
    page.folders.push_back(listing.decoded(node.child_value("Prefix")));
  if (!listing.truncated) return page;
  page.next = listing.root.child_value("NextContinuationToken");
  if (page.next.empty()) return unparsable("is truncated and has no NextContinuationToken");
  return page;
}

Result<S3UploadPage> read_uploads(std::string_view body) {
  Listing listing;
  HF_TRY_VOID(load_listing(listing, body, "ListMultipartUploadsResult"));
  S3UploadPage page;
  for (const pugi::xml_node& node : listing.root.children("Upload")) {
    const auto initiated = read_time(node.child_value("Initiated"));
    if (!initiated) return unparsable("has no time in Initiated");
    page.uploads.push_back(
        {listing.decoded(node.child_value("Key")), node.child_value("UploadId"), *initiated});
    if (page.uploads.back().key.empty() || page.uploads.back().id.empty())
      return unparsable("has an upload without Key or UploadId");
  }
  if (!listing.truncated) return page;
  page.next_key = listing.decoded(listing.root.child_value("NextKeyMarker"));
  page.next_id = listing.root.child_value("NextUploadIdMarker");
  if (page.next_key.empty()) return unparsable("is truncated and has no NextKeyMarker");
  return page;
}

std::string write_completion(const std::vector<std::string>& etags) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  for (std::size_t i = 0; i < etags.size(); ++i) {
    pugi::xml_node part = root.append_child("Part");
    part.append_child("PartNumber").text().set(i + 1);
    part.append_child("ETag").text().set(("\"" + etags[i] + "\"").c_str());
  }
  struct Text : pugi::xml_writer {
    std::string text;
    void write(const void* bytes, std::size_t size) override {
      text.append(static_cast<const char*>(bytes), size);
    }
  } writer;
  document.save(writer, "", pugi::format_raw | pugi::format_no_declaration);
  return writer.text;
}

Result<ContentRange> read_content_range(std::string_view text) {
  constexpr std::string_view unit = "bytes ";
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (!text.starts_with(unit) || dash == text.npos || slash == text.npos || slash < dash)
    return unparsable("has no Content-Range of bytes");
  ContentRange range;
  HF_TRY(range.first, number(text.substr(unit.size(), dash - unit.size()), "Content-Range"));
  HF_TRY(range.last, number(text.substr(dash + 1, slash - dash - 1), "Content-Range"));
  HF_TRY(range.total, number(text.substr(slash + 1), "Content-Range"));
  if (range.first > range.last || range.last >= range.total)
    return unparsable("has a Content-Range that ends before it begins");
  return range;
}

}  // namespace holdfast
