package actors

import (
	"cmp"
	"slices"

	msg "runnerd/messages"
)

// Recovery's plan: a pure function of the state of the spool and the engine. It is the same at the start of the process and after a
// crash of the dispatcher. Carrying it out twice does no harm.

// action is one thing to do: exactly one field is set.
type action struct {
	adopt    *msg.ExecutorRecord // its actor determines the state, even of an executor that has ended
	reap     msg.ExecutorID      // a container of this runner without a record
	lost     *lostJob
	closeLog msg.ExecutionID // a job with an ending whose log no executor will close
}

// lostJob is a job that was handed out to an executor whose record is gone, so its result cannot be read.
type lostJob struct {
	id  msg.ExecutionID
	why string
}

func plan(jobs []msg.JobRecord, executors []msg.ExecutorRecord, containers []msg.Container) []action {
	var todo []action
	known, lives := map[msg.ExecutorID]bool{}, map[msg.ExecutorID]bool{}
	for _, rec := range executors {
		known[rec.ID] = true
		todo = append(todo, action{adopt: &rec})
	}
	byID := slices.SortedFunc(slices.Values(containers), func(a, b msg.Container) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range byID {
		lives[c.ID] = true
		if !known[c.ID] {
			todo = append(todo, action{reap: c.ID})
		}
	}
	for _, job := range jobs {
		switch {
		case known[job.Executor]: // its actor handles the job
		case job.Stage == msg.HandedOut:
			why := "its executor " + string(job.Executor) + " is gone, and with it the directory that its result would be in"
			if lives[job.Executor] {
				why = "the record of its executor " + string(job.Executor) + " cannot be read, so the job cannot continue. The damaged record is in corrupt/"
			}
			todo = append(todo, action{lost: &lostJob{job.Execution, why}})
		case job.Stage > msg.HandedOut && !job.Log.Closed:
			todo = append(todo, action{closeLog: job.Execution})
		}
	}
	return todo
}
