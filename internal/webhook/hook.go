package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"os"
	"reflect"
	"strings"
	"unicode"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Hook says which events go to a URL, and how.
type Hook struct {
	Name    string   `yaml:"name" json:"name"`
	URL     string   `yaml:"url" json:"url"`
	Devices []string `yaml:"devices" json:"devices,omitempty"` // patterns as in policy.CompileDevices; none: all
	Types   []string `yaml:"types" json:"types,omitempty"`     // types of events; none: all
	Format  string   `yaml:"format" json:"format,omitempty"`   // cloudevents, which is the default, zammad, or template
	// Template is a text/template for the body of requests, and ContentType its media type, application/json by default.
	Template    string `yaml:"template" json:"template,omitempty"`
	ContentType string `yaml:"content-type" json:"contentType,omitempty"`
	// Users has the names or logins that Zammad knows users of devices by.
	Users map[string]string `yaml:"users" json:"users,omitempty"`
	// Secrets sign requests, each of them, so that a secret can be replaced without failure: whsec_ and base64 of 24 to 64
	// octets. SecretsFile has one in each line.
	Secrets     []string `yaml:"secrets" json:"secrets,omitempty"`
	SecretsFile string   `yaml:"secrets-file" json:"-"`
	// Private allows private and loopback addresses, and http.
	Private bool `yaml:"private" json:"-"`
	// Owner is the identity whose rights count. The hooks of the configuration have none, and get all events.
	Owner string `yaml:"-" json:"owner,omitempty"`
	// By says how the owner was identified, in the words of [Rights.Holds].
	By json.RawMessage `yaml:"-" json:"by,omitempty"`
}

// The formats.
const (
	CloudEvents = "cloudevents"
	Zammad      = "zammad"
	Template    = "template"
)

// The limits of a hook.
const (
	mostPatterns = 1000
	mostText     = 16 << 10 // octets of a template
	mostURL      = 2048
	mostSecrets  = 4
)

// Check reports what is wrong with the hook: the key, and what to write instead.
func (h *Hook) Check(fault func(key, text string)) {
	if n := len(h.Name); n == 0 || n > 100 || strings.ContainsFunc(h.Name, unicode.IsControl) {
		fault("name", "must have 1 to 100 characters")
	}
	h.checkURL(fault)
	if len(h.Devices) > mostPatterns || len(h.Types) > mostPatterns || len(h.Users) > mostPatterns {
		fault("", fmt.Sprintf("has too many devices, types or users; at most %d of each", mostPatterns))
	}
	for i, pattern := range h.Devices {
		if !policy.ValidDevices(pattern) {
			fault(fmt.Sprintf("devices[%d]", i), "is no pattern of devices; write for example \"100\", \"2*\" or \"200-299\"")
		}
	}
	for i, kind := range h.Types {
		if !name(kind) {
			fault(fmt.Sprintf("types[%d]", i), "is no type of events; write for example \"delivered\"")
		}
	}
	if _, err := h.format(""); err != nil {
		key := "format"
		if h.Format == Template {
			key = "template"
		}
		fault(key, err.Error())
	}
	if h.Format != Template && (h.Template != "" || h.ContentType != "") {
		fault("template", "is only for the format template; write format: template")
	}
	if _, _, err := mime.ParseMediaType(h.ContentType); h.ContentType != "" && err != nil {
		fault("content-type", "is no media type; write for example \"application/json\"")
	}
	if h.Format == Zammad && len(h.Types) > 0 {
		fault("types", "must be absent: Zammad gets new calls, answers and ends of calls")
	}
	if h.Format != Zammad && len(h.Users) > 0 {
		fault("users", "is only for the format zammad")
	}
	if len(h.Secrets) > 0 && h.SecretsFile != "" {
		fault("secrets", "is a second source of secrets; write either secrets or secrets-file")
	} else if _, err := h.keys(); err != nil {
		fault("secrets", err.Error())
	}
	if h.Owner != "" && (h.Private || h.SecretsFile != "") {
		fault("private", "is only for hooks of the configuration")
	}
}

func (h *Hook) checkURL(fault func(key, text string)) {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(h.URL) > mostURL: // the error would show the URL, which may have a password
		fault("url", "is no URL; write for example \"https://crm.example/hook\"")
	case u.Fragment != "":
		fault("url", "has a fragment, which is never sent")
	case u.Scheme != "https" && (u.Scheme != "http" || !h.Private):
		fault("url", "must begin with https://; http:// needs private: true")
	default:
		if why := forbidden(u.Hostname(), h.Private); why != "" {
			fault("url", why)
		}
	}
}

// name reports whether a text is a name as CSTA has them.
func name(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) || r > unicode.MaxASCII })
}

// keys returns the decoded secrets.
func (h *Hook) keys() (keys [][]byte, err error) {
	secrets := h.Secrets
	if h.SecretsFile != "" {
		data, err := os.ReadFile(h.SecretsFile)
		if err != nil {
			return nil, err
		}
		secrets = strings.Fields(string(data))
	}
	if len(secrets) > mostSecrets {
		return nil, fmt.Errorf("has %d secrets; at most %d", len(secrets), mostSecrets)
	}
	for _, secret := range secrets {
		encoded, ok := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 { // the error would show part of the secret
			return nil, errors.New("must be whsec_ and 24 to 64 octets in base64; write what `echo whsec_$(openssl rand -base64 32)` prints")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// same reports whether two hooks are equal.
func (h *Hook) same(other *Hook) bool { return reflect.DeepEqual(h, other) }

// id identifies a hook among those of all owners.
func (h *Hook) id() string { return id(h.Owner, h.Name) }

func id(owner, name string) string { return owner + "\x00" + name }

// Receiver returns the scheme and host of the URL: its path and query can have a secret, and it can have a password.
func (h *Hook) Receiver() string {
	u, err := url.Parse(h.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// WithoutPassword returns the URL without its password.
func (h *Hook) WithoutPassword() string {
	u, err := url.Parse(h.URL)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// shown returns the hook without secrets, and without the password in its URL.
func (h *Hook) shown() Hook {
	shown := *h
	shown.Secrets, shown.SecretsFile, shown.By, shown.URL = nil, "", nil, h.WithoutPassword()
	return shown
}
