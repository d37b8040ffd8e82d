/* pool.h: the threads that share a step's work. One pool per process, and one run at a time that has it. */
#ifndef FR_POOL_H
#define FR_POOL_H

#include "fastreg.h"

/* One of a task's items; worker is 0 for the thread that called fr_pool_share, and never the same for two at once. */
typedef void fr_task(void *job, i64 item, int worker);

#define FR_MOST_THREADS 256

/* How many threads, this one included, the caller may use until fr_pool_release: 1 where another run has the pool, or
 * where the system makes no more. A number above 1 is to be released. */
int fr_pool_claim(int threads);
void fr_pool_release(void);
/* Runs items 0 .. items - 1, in any order, on at most so many of the claimed threads; returns when all are done. */
void fr_pool_share(fr_task *task, void *job, i64 items, int threads);
/* Of a clock that only goes forward. */
double fr_seconds(void);

#endif
