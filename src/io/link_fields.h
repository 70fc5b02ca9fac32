#pragma once

// The fields of the messages that are sent and never written down; model/fields.h has the others.

#include "model/fields.h"
#include "model/link.h"

// In the messages' own namespaces, where HasFields finds them although it was declared before.
// clang-format off
namespace holdfast::agent_message {
HF_FIELDS(Heartbeat, rendezvous_port, job, attempt, progress)
HF_FIELDS(RankExited, job, attempt, exit)
HF_FIELDS(AttemptDrained, job, attempt)
HF_FIELDS(FaultSeen, fault, present)
HF_FIELDS(FaultCleared, kind, device)
HF_FIELDS(DevicesReset, ok, detail)
HF_FIELDS(LifecycleFilesWanted, run, offset)
HF_FIELDS(LogChunk, job, attempt, rank, offset, bytes)
}  // namespace holdfast::agent_message

namespace holdfast::server_message {
HF_FIELDS(Welcome, heartbeat_interval)
HF_FIELDS(StartRanks, job, attempt, spec, group_rank, nodes, master_address, master_port,
          replica_to, restore_from)
HF_FIELDS(StopRanks, job, attempt, grace)
HF_FIELDS(CollectStacks, job, attempt)
HF_FIELDS(WarmUp, job, spec)
HF_FIELDS(ForgetJob, job)
HF_FIELDS(LogAck, job, attempt, rank, offset)
HF_FIELDS(Fenced, reason)
HF_FIELDS(Inject, what, job, rank, signal, line)
HF_FIELDS(ResetDevices, devices, reason)
HF_FIELDS(CheckPeer, node, address, port)
HF_FIELDS(StartCheck, check, step, test, scripts, load, budget, position, peers)
HF_FIELDS(StopCheck, check)
HF_FIELDS(RunLifecycle, run, on_create, on_init_complete, try_max, tries_max)
HF_FIELDS(LifecycleFiles, run, offset, bytes_in_all, bytes, config, error)
}  // namespace holdfast::server_message
// clang-format on
