package contract

// Environment variables of a plugin.
const (
	InputLocation      = "INPUT_LOCATION"          // path of the input; if set, the job comes by file
	OutputLocation     = "OUTPUT_LOCATION"         // path of the result, always set
	SessionKey         = "SESSION_KEY"             // base64 of the raw key; with InputLocation only
	CallbackURL        = "CALLBACK_URL"            // base64 of the URL; with InputLocation only
	ReleaseURL         = "RELEASE_URL"             // the server
	InputContextSecret = "INPUT_CONTEXT_SECRET"    // name of the Secret that holds the job
	RunnerNamespace    = "RUNNER_NAMESPACE"        // its namespace
	ExecutionMode      = "EXECUTOR_EXECUTION_MODE" // ModeDaemon; otherwise the plugin runs one job

	KubernetesHost = "KUBERNETES_SERVICE_HOST"
	KubernetesPort = "KUBERNETES_SERVICE_PORT"
)

// ModeDaemon is the value of ExecutionMode that makes a plugin ask for another job after its first.
const ModeDaemon = "daemon"

// Paths of a plugin's credentials for the Secrets API.
const (
	ServiceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	TokenFile         = "token"
	CAFile            = "ca.crt"
	NamespaceFile     = "namespace"
)

// Keys of an input Secret. All five must be present: Python raises an exception if one is missing. The values are base64 text inside
// the Secret's own base64 encoding, except those of KeyInput and KeyExecutionID.
const (
	KeyInput       = "input"
	KeySessionKey  = "session-key"
	KeyURL         = "url"      // callback URL; empty: none
	KeyFetchURL    = "fetchUrl" // URL of a large input, read if input is empty
	KeyExecutionID = "execution-id"
)
