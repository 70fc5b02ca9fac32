#include "io/s3_answers.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(S3Answers, ErrorsHaveACodeAndAMessage) {
  const auto error = read_s3_error(
      "<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>NoSuchKey</Code><Message>The key\nis "
      "gone</Message><Key>k</Key></Error>");
  EXPECT_EQ(error.code, "NoSuchKey");
  EXPECT_EQ(error.message, "The key?is gone");
  EXPECT_EQ(read_s3_error("<html>Bad gateway</html>").code, "");
  EXPECT_EQ(read_s3_error("").code, "");
  EXPECT_EQ(read_s3_error("<Error><Code>a\x1b[31mb</Code></Error>").code, "");
}

TEST(S3Answers, UploadIds) {
  EXPECT_EQ(*read_upload_id("<InitiateMultipartUploadResult xmlns=\"http://x\"><Bucket>b</Bucket>"
                            "<UploadId>VXBsb2Fk-1</UploadId></InitiateMultipartUploadResult>"),
            "VXBsb2Fk-1");
  EXPECT_EQ(read_upload_id("<InitiateMultipartUploadResult/>").error().code, Errc::kUnparsable);
  EXPECT_EQ(read_upload_id("<InitiateMultipart").error().code, Errc::kUnparsable);
}

TEST(S3Answers, ACompletionMayFailAfterItsStatus) {
  EXPECT_EQ(read_completion("<CompleteMultipartUploadResult><ETag>&quot;abc-2&quot;</ETag>"
                            "</CompleteMultipartUploadResult>")
                ->etag,
            "abc-2");
  EXPECT_EQ(read_completion("<Error><Code>InternalError</Code></Error>")->error.code,
            "InternalError");
  EXPECT_FALSE(read_completion("<CompleteMultipartUploadResult/>").ok());
  EXPECT_FALSE(read_completion("").ok());
}

TEST(S3Answers, APageOfAListing) {
  const auto page = read_list(
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>t/+=</NextContinuationToken>"
      "<Contents><Key>a%2Fb+c%25</Key><Size>12</Size></Contents>"
      "<Contents><Key>d%2</Key><Size>0</Size></Contents>"
      "<CommonPrefixes><Prefix>a/x/</Prefix></CommonPrefixes></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.error().text();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "a/b c%");
  EXPECT_EQ(page->objects[0].bytes, 12u);
  EXPECT_EQ(page->objects[1].key, "d%2");
  EXPECT_EQ(page->folders, std::vector<std::string>{"a/x/"});
  EXPECT_EQ(page->next, "t/+=");
}

TEST(S3Answers, ListingsThatCannotBeTrusted) {
  for (const char* body :
       {"<ListBucketResult/>", "<Other><IsTruncated>false</IsTruncated></Other>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>-1</Size>"
        "</Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>"
        "99999999999999999999</Size></Contents></ListBucketResult>"}) {
    const auto page = read_list(body);
    ASSERT_FALSE(page.ok()) << body;
    EXPECT_EQ(page.error().code, Errc::kUnparsable);
  }
}

TEST(S3Answers, PendingUploads) {
  const auto page = read_uploads(
      "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>k+1</Key>"
      "<UploadId>u</UploadId><Initiated>2026-11-25T09:30:00.000Z</Initiated></Upload>"
      "</ListMultipartUploadsResult>");
  ASSERT_TRUE(page.ok()) << page.error().text();
  ASSERT_EQ(page->uploads.size(), 1u);
  EXPECT_EQ(page->uploads[0].key, "k+1");  // not said to be encoded
  EXPECT_EQ(page->uploads[0].initiated.ns, 1'795'599'000'000'000'000);
  EXPECT_FALSE(read_uploads("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload>"
                            "<Key>k</Key><UploadId>u</UploadId></Upload>"
                            "</ListMultipartUploadsResult>")
                   .ok());
  // Beyond what nanoseconds in 64 bits hold.
  EXPECT_FALSE(read_uploads("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload>"
                            "<Key>k</Key><UploadId>u</UploadId>"
                            "<Initiated>9999-11-25T09:30:00.000Z</Initiated></Upload>"
                            "</ListMultipartUploadsResult>")
                   .ok());
}

TEST(S3Answers, TheBodyOfACompletion) {
  EXPECT_EQ(write_completion({"a", "b"}),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag></Part></CompleteMultipartUpload>");
}

TEST(S3Answers, ContentRanges) {
  const auto range = read_content_range("bytes 10-19/443");
  ASSERT_TRUE(range.ok());
  EXPECT_EQ(range->first, 10u);
  EXPECT_EQ(range->last, 19u);
  EXPECT_EQ(range->total, 443u);
  for (const char* text : {"", "bytes */443", "bytes 10-9/443", "bytes 10-443/443", "10-19/443",
                           "bytes 1-2", "bytes 1/2-3", "bytes -1-2/3"})
    EXPECT_FALSE(read_content_range(text).ok()) << text;
}

}  // namespace
}  // namespace holdfast
