// `holdfast checkpoint`: looks at a folder of checkpoints, on a disk or in S3, without a cluster

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/commands/checkpoint_files.h"
#include "apps/commands/commands.h"
#include "apps/peer_tls.h"
#include "apps/s3_folder.h"
#include "apps/terminal.h"
#include "engine/checkpoint/shard_reader.h"
#include "engine/checkpoint/snapshot_link.h"
#include "engine/checkpoint/store.h"
#include "io/files.h"

namespace holdfast {
namespace {

using engine::Base;
using engine::Folder;
using engine::Manifest;
using engine::ShardEntry;
using engine::Store;
using nlohmann::json;

// Newer than any: it looks, and is never in the way of a running attempt.
constexpr std::uint64_t kOnlooker = INT64_MAX;

struct CheckpointOptions {
  std::string folder;
  std::optional<std::uint64_t> step;
  engine::Retention retention;
  bool json = false;
};

Result<void> verify_shard(const Folder& folder, const Base& at, std::uint32_t world_size,
                          const ShardEntry& entry) {
  const std::string path =
      engine::step_folder(at.attempt, at.step) + "/" + engine::shard_name(entry.rank);
  HF_TRY(auto file, folder.open(path));
  HF_TRY(const auto reader,
         engine::ShardReader::open(std::move(file), folder.name(path),
                                   {at.attempt, at.step, entry.rank, world_size}, &entry));
  return reader.read({}, engine::default_threads());
}

Result<void> verify(const Folder& folder, const Base& at, const Manifest& manifest) {
  for (const ShardEntry& entry : manifest.shards)
    HF_TRY_VOID(verify_shard(folder, at, manifest.world_size(), entry));
  return {};
}

std::uint64_t bytes_of(const Manifest& manifest) {
  std::uint64_t sum = 0;
  for (const ShardEntry& entry : manifest.shards) sum += entry.bytes;
  return sum;
}

Result<std::vector<Base>> commits_of(const Store& store, const CheckpointOptions& options) {
  HF_TRY(std::vector<Base> commits, store.chain());
  if (options.step)
    std::erase_if(commits, [&](const Base& commit) { return commit.step != *options.step; });
  if (commits.empty())
    return Error{Errc::kNotFound,
                 options.folder + " has no commit" +
                     (options.step ? " of step " + std::to_string(*options.step) : "")};
  return commits;
}

// `list`, and `verify`, which reads all of it. 1 when something does not verify.
Result<int> list(const CheckpointOptions& options, bool reads_all) {
  HF_TRY(const auto folder, open_checkpoint_folder(options.folder));
  const Store store(*folder, std::nullopt, kOnlooker);
  HF_TRY(const std::vector<Base> commits, commits_of(store, options));
  json rows = json::array();
  std::vector<std::vector<std::string>> table{
      {">step", ">attempt", "created", ">ranks", ">bytes", reads_all ? "verified" : "problem"}};
  bool all_good = true;
  for (const Base& at : commits) {
    const Result<Manifest> manifest = store.manifest(at);
    Result<void> good = manifest.ok() ? Result<void>() : Result<void>(manifest.error());
    if (good.ok() && reads_all) good = verify(*folder, at, *manifest);
    all_good = all_good && good.ok();
    const std::string problem = good.ok() ? "" : good.error().text();
    json row{{"attempt", at.attempt}, {"step", at.step}, {"problem", json()}};
    if (!good.ok()) row["problem"] = problem;
    std::vector<std::string> line{std::to_string(at.step), std::to_string(at.attempt), "", "", ""};
    if (manifest.ok()) {
      row["created"] = manifest->created;
      row["world_size"] = manifest->world_size();
      row["bytes"] = bytes_of(*manifest);
      line = {line[0], line[1], manifest->created, std::to_string(manifest->world_size()),
              std::to_string(bytes_of(*manifest))};
    }
    line.push_back(without_controls(good.ok() && reads_all ? "yes" : problem));
    rows.push_back(std::move(row));
    table.push_back(std::move(line));
  }
  print(options.json ? json{{"commits", rows}}.dump(2) + "\n"
                     : render_table(table, standard_output().paint));
  return all_good ? kExitOk : kExitJobFailed;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Result<int> show(const CheckpointOptions& options) {
  HF_TRY(const auto folder, open_checkpoint_folder(options.folder));
  const Store store(*folder, std::nullopt, kOnlooker);
  HF_TRY(const std::vector<Base> commits, commits_of(store, options));
  HF_TRY(const Manifest manifest, store.manifest(commits.front()));
  if (options.json) {
    print(json::parse(engine::write_manifest(manifest)).dump(2) + "\n");
    return kExitOk;
  }
  const Paint paint = standard_output().paint;
  print(fmt::format("step {} of attempt {}, job {}, saved {} by {} ranks, {} bytes\n\n",
                    manifest.step, manifest.attempt,
                    without_controls(manifest.job.value_or("(no name)")),
                    without_controls(manifest.created), manifest.world_size(), bytes_of(manifest)));
  std::vector<std::vector<std::string>> table{
      {">rank", "tensor", "dtype", "shape", "of", "at", ">bytes"}};
  for (const ShardEntry& entry : manifest.shards)
    for (const engine::TensorPiece& piece : entry.tensors)
      table.push_back({std::to_string(entry.rank), without_controls(piece.name), piece.dtype,
                       shape_text(piece.shape), shape_text(piece.global_shape),
                       shape_text(piece.offsets), std::to_string(piece.bytes)});
  print(render_table(table, paint));
  return kExitOk;
}

Result<int> prune(const CheckpointOptions& options) {
  HF_TRY(const auto folder, open_checkpoint_folder(options.folder));
  HF_TRY(const std::uint64_t attempt, Store(*folder, std::nullopt, kOnlooker).newest_attempt());
  Store store(*folder, std::nullopt, attempt, options.retention);
  HF_TRY(const std::vector<Base> before, store.chain());
  // What this attempt may be writing now is newer than its newest commit.
  const bool has_committed = !before.empty() && before.front().attempt == attempt;
  HF_TRY_VOID(store.collect(has_committed ? before.front().step : 0));
  HF_TRY(const std::vector<Base> after, store.chain());
  if (options.json)
    print(json{{"removed", before.size() - after.size()}, {"kept", after.size()}}.dump(2) + "\n");
  else
    print(fmt::format("{} commits removed, {} kept\n", before.size() - after.size(), after.size()));
  return kExitOk;
}

// A node without an identity has memory for its own ranks alone.
Result<int> serve(int listener, int identity_fd, int peers_fd) {
  const UniqueFd peers_listener(peers_fd);
  std::unique_ptr<PeerTls> peers;
  engine::SnapshotServer server(
      listener, [](const std::string& where) { return open_checkpoint_folder(where); });
  if (identity_fd >= 0) {
    const UniqueFd fd(identity_fd);
    HF_TRY(const std::string text, read_all(fd, "identity-fd", 1 << 20));
    HF_TRY(const PeerIdentity identity, read_peer_identity(text));
    HF_TRY(peers, PeerTls::make(identity));
    server.join_peers(identity.address, *peers);
    std::thread([&] {
      peers->accept(peers_listener, [&](engine::PeerStream& stream) { server.serve_peer(stream); });
    }).detach();
  }
  server.run();
  std::_Exit(kExitOk);  // the threads of peers go with the process
}

void add_serve(CLI::App& group) {
  CLI::App* command =
      group.add_subcommand("serve", "The node's memory of snapshots (agents start it)");
  auto listener = std::make_shared<int>(-1);
  auto identity = std::make_shared<int>(-1);
  command->add_option("--fd", *listener)->required()->group("");
  auto peers = std::make_shared<int>(-1);
  command->add_option("--identity-fd", *identity)->group("");
  command->add_option("--peers-fd", *peers)->group("");
  command->group("");
  command->callback(
      [listener, identity, peers] { finish([&] { return serve(*listener, *identity, *peers); }); });
}

template <class Run>
void add_look(CLI::App& group, const char* name, const char* what, bool has_step, const Run& run) {
  auto options = std::make_shared<CheckpointOptions>();
  CLI::App* command = group.add_subcommand(name, what);
  command->add_option("FOLDER", options->folder, "A checkpoint folder, or s3://BUCKET/PREFIX")
      ->required();
  if (has_step) command->add_option("--step", options->step, "This step only");
  add_json_option(*command, options->json);
  command->callback([options, run] { finish([&] { return run(*options); }); });
}

}  // namespace

void add_checkpoint(CLI::App& app) {
  CLI::App& group = *app.add_subcommand("checkpoint", "Look at checkpoints and check them");
  group.require_subcommand(1);
  add_look(group, "list", "The commits, newest first", false,
           [](const CheckpointOptions& options) { return list(options, false); });
  add_look(group, "show", "What is in a commit (default: the newest)", true, show);
  add_look(group, "verify", "Read every byte of the commits and check it", true,
           [](const CheckpointOptions& options) { return list(options, true); });
  auto options = std::make_shared<CheckpointOptions>();
  CLI::App* command = group.add_subcommand("prune", "Remove the commits that need not stay");
  command->add_option("FOLDER", options->folder, "A checkpoint folder, or s3://BUCKET/PREFIX")
      ->required();
  command->add_option("--keep", options->retention.last, "How many of the newest stay")
      ->required()
      ->check(CLI::Range(2, 1000000));
  command->add_option("--keep-every", options->retention.every_steps,
                      "And the first of each so many steps");
  command
      ->add_option("--budget", options->retention.bytes_max,
                   "Of all these, the newest that fit into so many bytes: 200GB, 1TiB")
      ->transform(CLI::AsSizeValue(false));
  command->footer(
      "\nExample:\n"
      "  holdfast checkpoint prune llama-checkpoints --keep 3 --keep-every 10000 --budget 2TiB\n");
  add_json_option(*command, options->json);
  command->callback([options] { finish([&] { return prune(*options); }); });
  add_checkpoint_files(group);
  add_serve(group);
  group.footer("\nExample:\n  holdfast checkpoint verify llama-checkpoints --json\n");
}

}  // namespace holdfast
