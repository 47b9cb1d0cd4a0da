package contract

// Environment variables of a plugin.
const (
	InputLocation      = "INPUT_LOCATION"          // path of the input; set: the job comes by file
	OutputLocation     = "OUTPUT_LOCATION"         // path of the result, whichever way the job came
	SessionKey         = "SESSION_KEY"             // base64 of the raw key; with InputLocation only
	CallbackURL        = "CALLBACK_URL"            // base64 of the URL; with InputLocation only
	ReleaseURL         = "RELEASE_URL"             // the server
	InputContextSecret = "INPUT_CONTEXT_SECRET"    // name of the Secret that the job comes by
	RunnerNamespace    = "RUNNER_NAMESPACE"        // its namespace
	ExecutionMode      = "EXECUTOR_EXECUTION_MODE" // ModeDaemon, else one job

	KubernetesHost = "KUBERNETES_SERVICE_HOST"
	KubernetesPort = "KUBERNETES_SERVICE_PORT"
)

// ModeDaemon is the value of ExecutionMode with which a plugin asks for another job after its first.
const ModeDaemon = "daemon"

// Where a plugin finds its credentials for the Secrets API.
const (
	ServiceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	TokenFile         = "token"
	CAFile            = "ca.crt"
	NamespaceFile     = "namespace"
)

// Keys of an input Secret. All five must be there: Python raises on a missing one. The value of each but KeyInput and
// KeyExecutionID is base64 text once more inside the Secret's own encoding.
const (
	KeyInput       = "input"
	KeySessionKey  = "session-key"
	KeyURL         = "url"      // of the callback; empty: none
	KeyFetchURL    = "fetchUrl" // of a large input, read when input is empty
	KeyExecutionID = "execution-id"
)
