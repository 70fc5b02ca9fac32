#pragma once

/* The checkpoint engine for a training program in any language: libholdfast_checkpoint.so.
 *
 * A rank takes an image (room in memory), fills it, and publishes it; that is all that training
 * waits for. persist() then writes it behind, on a thread of the program's, and returns once the
 * step is committed by all ranks. To restore, the program asks what there is, and opens shards by
 * tier. What is stored: docs/checkpoint-format.md. Who agrees on what with other ranks is the
 * program's business; python/holdfast/checkpoint.py does it over torch.distributed.
 *
 * Every function gives 0 or one of the codes below; the reason is hf_ckpt_error(). Texts are UTF-8;
 * those handed out are freed with hf_ckpt_free(). A handle may be used by several threads; a shard
 * and an image by one at a time. Times are waited for outside: nothing here takes a time limit. */

#include <stddef.h> /* NOLINT: C */
#include <stdint.h> /* NOLINT: C */

#ifdef __cplusplus
extern "C" {
#endif

#define HF_CKPT_API __attribute__((visibility("default")))

enum {
  HF_CKPT_OK = 0,
  HF_CKPT_BAD_ARGUMENT = 1,
  HF_CKPT_FENCED = 2,  /* a newer attempt of the job has begun */
  HF_CKPT_DAMAGED = 3, /* it does not verify; an older one may */
  HF_CKPT_REFUSED = 4, /* a person must decide: another job's, another version's */
  HF_CKPT_DISK_FULL = 5,
  HF_CKPT_IO = 6,
  HF_CKPT_BUSY = 7, /* no room in memory now, or the step was given up */
  HF_CKPT_NOT_FOUND = 8,
  HF_CKPT_GONE = 9, /* the snapshot server: open another handle */
};

enum { HF_CKPT_TIER_MEMORY = 0, HF_CKPT_TIER_FOLDER = 1 };

typedef struct hf_ckpt hf_ckpt;
typedef struct hf_ckpt_image hf_ckpt_image;
typedef struct hf_ckpt_shard hf_ckpt_shard;

/* Why the calling thread's last call failed. Valid until its next call. */
HF_CKPT_API const char* hf_ckpt_error(void);
HF_CKPT_API void hf_ckpt_free(char* text);
/* The version of the ABI: 3. A library with another number is not this one. */
HF_CKPT_API uint32_t hf_ckpt_abi(void);

/* folder: the job's checkpoints. job: its name, or NULL. Commits that stay: the newest keep_last,
 * one of each keep_every steps (0: of none), of all these as many as budget bytes hold (0: all),
 * and never fewer than two. server: the socket of the node's snapshot server, where memory outlives
 * this process, and memory_key the job's name there; server NULL: memory of this process. */
HF_CKPT_API int hf_ckpt_open(const char* folder, const char* job, uint64_t attempt,
                             uint64_t keep_last, uint64_t keep_every, uint64_t budget,
                             const char* server, const char* memory_key, hf_ckpt** out);
HF_CKPT_API void hf_ckpt_close(hf_ckpt* handle);

/* Of one rank for all: takes the newest commit as this attempt's base, once. After
 * HF_CKPT_DISK_FULL the program may go on. */
HF_CKPT_API int hf_ckpt_begin(hf_ckpt* handle);
/* JSON [[attempt, step], ...] of the folder's valid commits, newest first. */
HF_CKPT_API int hf_ckpt_chain(hf_ckpt* handle, char** json);
HF_CKPT_API int hf_ckpt_manifest(hf_ckpt* handle, uint64_t attempt, uint64_t step, char** json);
/* JSON [[attempt, step, rank, world_size], ...] of the complete images in this node's memory. */
HF_CKPT_API int hf_ckpt_images(hf_ckpt* handle, char** json);

/* tensors: JSON [{"name", "dtype", "shape", "bytes", and "global_shape", "offsets" where the piece
 * is not the whole}]. `at` receives where each tensor's bytes go in the image, `*memory` where the
 * image is. HF_CKPT_BUSY: the disk is far behind; no room. */
HF_CKPT_API int hf_ckpt_take(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                             const char* tensors, const void* skeleton, uint64_t skeleton_bytes,
                             uint64_t* at, void** memory, hf_ckpt_image** out);
/* Copies count pieces of memory into the image, on several threads. */
HF_CKPT_API int hf_ckpt_fill(hf_ckpt_image* image, uint64_t count, const void* const* from,
                             const uint64_t* at, const uint64_t* bytes, uint32_t threads);
/* Locks the image's memory for NVIDIA's devices, once: from then on a device copies into it by
 * itself, to `*memory` + `at`, in the context that is current on this thread. The memory is reused
 * by later images, which are locked already. HF_CKPT_BUSY: there is no driver or no context. A copy
 * must be over before the image is published or dropped. */
HF_CKPT_API int hf_ckpt_lock_pages(hf_ckpt_image* image);
/* Either way the image is gone. Published, the state is in memory: also if this process dies now,
 * where there is a server. will_persist: keep it until persist() of it has returned; else it may
 * make room for later ones, but the newest one stays. */
HF_CKPT_API int hf_ckpt_publish(hf_ckpt_image* image, int will_persist);
HF_CKPT_API void hf_ckpt_drop(hf_ckpt_image* image);

/* Writes a published image to the folder and takes part in the commit of its step: all ranks call
 * it, with the same `save` (any text; another for each call of each run). Returns when the step is
 * committed, or given up with the reason. */
HF_CKPT_API int hf_ckpt_persist(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                                const char* save, uint32_t threads);
/* In the place of persist(), by a rank that has nothing to write: the others need not wait. */
HF_CKPT_API int hf_ckpt_refuse(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                               const char* save, const char* reason);
/* persist() of this step and earlier ones stops waiting for other ranks. */
HF_CKPT_API void hf_ckpt_cancel(hf_ckpt* handle, uint64_t step);

/* Where the snapshot servers of other nodes reach this node's; empty: they do not. */
HF_CKPT_API int hf_ckpt_address(hf_ckpt* handle, char** address);
/* Brings an image from the memory of the node at `address` into this node's. */
HF_CKPT_API int hf_ckpt_fetch(hf_ckpt* handle, const char* address, uint64_t attempt, uint64_t step,
                              uint32_t rank, uint32_t world_size);
/* The same behind training, once that node has it: a replica, for when that node is lost. */
HF_CKPT_API void hf_ckpt_mirror(hf_ckpt* handle, const char* address, uint64_t step, uint32_t rank,
                                uint32_t world_size);

/* A shard of a rank, from the memory of this node or from the folder, where the manifest (JSON, as
 * hf_ckpt_manifest() gave it) vouches for it; NULL: it vouches for itself. */
HF_CKPT_API int hf_ckpt_shard_open(hf_ckpt* handle, int tier, uint64_t attempt, uint64_t step,
                                   uint32_t rank, uint32_t world_size, const char* manifest,
                                   hf_ckpt_shard** out);
/* JSON {"job", "tensors": [...]} with each tensor's `at`. */
HF_CKPT_API int hf_ckpt_shard_index(hf_ckpt_shard* shard, char** json);
/* Valid while the shard is open. */
HF_CKPT_API int hf_ckpt_shard_skeleton(hf_ckpt_shard* shard, const void** bytes, uint64_t* count);
/* Copies count pieces out of the shard, verified, on several threads; `to` NULL: only verifies
 * them; count 0: verifies all of the shard. After an error what was copied is not to be used. */
HF_CKPT_API int hf_ckpt_shard_read(hf_ckpt_shard* shard, uint64_t count, const uint64_t* at,
                                   void* const* to, const uint64_t* bytes, uint32_t threads);
HF_CKPT_API void hf_ckpt_shard_close(hf_ckpt_shard* shard);

#ifdef __cplusplus
}
#endif
