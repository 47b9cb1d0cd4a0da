package messages

import "errors"

// The words between an executor and the gateway, its door to us: what happens at the door of one executor.

// Visit is something that happened at an executor's door.
//
//sumtype:decl
type Visit interface{ visit() }

type (
	// Held: the executor asks for a job and waits: it is proven ready.
	Held struct{}
	// HoldLost: it waits no longer, though nothing was given to it.
	HoldLost struct{}
	// Delivered: the job's input has been written, to the last byte.
	Delivered struct{ Execution ExecutionID }
	// NotStarted: the plugin has proven that it did not start the job; the gateway hands it out once more.
	NotStarted struct {
		Execution ExecutionID
		Proof     string
	}
	// ResultStored: the result is in the spool; nothing replaces it.
	ResultStored struct {
		Execution ExecutionID
		Result    Result // Body is left empty: it is in the spool
		Retire    string // not empty: the executor must take no more jobs, and why
	}
	// ResultRefused: a result came that cannot be stored, ever. The job is to be failed with the reason. It is the error, too,
	// of who looks for a result and finds one like that.
	ResultRefused struct {
		Execution ExecutionID
		Reason    string
	}
	// Introduced: which SDK the plugin is built with. Sent once.
	Introduced struct{ SDK SDK }
)

func (r ResultRefused) Error() string { return r.Reason }

func (Held) visit()          {}
func (HoldLost) visit()      {}
func (Delivered) visit()     {}
func (NotStarted) visit()    {}
func (ResultStored) visit()  {}
func (ResultRefused) visit() {}
func (Introduced) visit()    {}

// ErrNotHeld is what a gateway answers to a hand-out when no GET of the executor waits: it was lost, or has not come yet.
var ErrNotHeld = errors.New("it does not wait for a job: no GET is held")

// SDK is the family of an executor's client.
type SDK string

const (
	GoSDK     SDK = "go"
	PythonSDK SDK = "python"
	OtherSDK  SDK = "other"
)

// Access is what an executor must be given to find its door.
type Access struct {
	Env    map[string]string
	Files  map[string][]byte // to be put below the executor's directory, by name
	Mounts []Mount           // of parts of that directory
}
