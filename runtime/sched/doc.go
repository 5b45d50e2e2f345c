// Package sched runs everything that the runtime does at the same time:
// supervised goroutines, bounded pools of workers, periodic work, and lanes. It
// can say at any moment what runs, since when, and what it waits for.
//
// # What to take
//
//   - A goroutine that lives as long as its owner: Group.Go, or
//     Group.Supervise where it is to be started again.
//   - Work at an interval: Group.Every; once, later: Group.After.
//   - Many short tasks from several pipelines: a Pool.
//   - A loop that takes what a journal or a ring has: a Lane.
//
// # Order
//
// New starts nothing, and neither do NewGroup, NewPool and NewLane. Run blocks
// and returns when its children have; Group.Wait does for goroutines what Run
// does for the rest. A group is found through its context: what is made with
// a goroutine's context is listed below that goroutine. The first error of a
// group ends its context; a group made by NewSet goes on without the child.
//
// A pool whose context ends takes no more tasks, runs those that wait until
// its drain time is over, then ends the tasks' context and tells the owners of
// what was left.
//
// # Ownership
//
// A task belongs to the pool from Submit until its Join or Do was told of its
// end. Tasks, kinds and tenants are values and pointers that the submitter
// keeps and uses again: submitting allocates nothing. A panic belongs to the
// goroutine or task it happened in: it becomes a *PanicError with the stack.
//
// # A slow consumer
//
// Each queue of a pool (one a tenant and priority) has a bound. What happens
// to a task that finds it full is the pool's policy: its submitter waits, is
// refused, or runs it. A tenant that floods fills its own queues and no
// others', and gets its share of the workers' time: deficit round robin, paid
// in measured run time. A priority below another gets a fixed small share, so
// it is slow and never stands still. A lane that can't keep up shows full
// batches and no parks; what it has not taken waits with its source.
package sched
