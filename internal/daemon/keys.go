package daemon

import (
	"reflect"
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// Waiting is a key whose new value needs a restart.
type Waiting struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// whole lists the keys that a reload applies with everything below them.
var whole = []string{"addresses", "trusted", "groups", "device-groups", "destinations", "rules", "grants", "numbers", "links", "heartbeat", "monitor-linger"}

// parts lists, for other keys, the keys below them that a reload applies.
var parts = map[string][]string{
	"log":                  {"level"},
	"lines":                {"own", "file"},
	"limits":               {"sessions", "sessions-per-identity", "monitors-per-identity", "requests-per-second", "calls-per-minute", "monitors-per-session", "requests-outstanding", "queue", "queue-mib", "queues-mib", "strangers-mib"},
	"application-sessions": {"duration", "max-duration", "max", "max-per-account", "tries", "login-time"},
	"telephones":           {"listen"},
}

// reasons says why keys need a restart. Keys without a reason are read at the start only.
var reasons = map[string]string{
	"demo":                             "what demo mode lets everybody do is decided at the start",
	"admin":                            "the response to the reload goes through this socket",
	"certificate-names":                "connections that are open were identified by the names that counted before",
	"log.format":                       "one log has one format",
	"lines.ldap":                       "the connection to the directory is opened at the start; its content is read again by itself",
	"application-sessions.accounts":    "sessions that are open belong to accounts of the old file",
	"application-sessions.tokens-file": "sessions that are open belong to tokens of the old file",
	"application-sessions.lock-after":  "locks and counts of wrong passwords belong to the old value",
	"application-sessions.lock-time":   "locks and counts of wrong passwords belong to the old value",
	"digest.realm":                     "clients have proved their passwords for the old realm",
	"digest.users":                     "whether clients are asked for a password at all is decided at the start",
	"switch":                           "calls that go on belong to the old devices",
	"telephones.realm":                 "telephones have proved their passwords for the old realm",
	"telephones.state":                 "the state file is open as long as the proxy runs",
	"telephones.media":                 "voice of calls that go on uses the old addresses and ports",
	"audit.file":                       "turning the audit file on or off while requests are carried out would leave a gap",
	"audit.key-file":                   "one file has one key; name another audit.file with it",
}

func waiting(key string) Waiting {
	if why, ok := reasons[key]; ok {
		return Waiting{key, why}
	}
	return Waiting{key, "it is read at the start only"}
}

// keep restores in applied the old values of keys that need a restart, and returns these keys.
func (n *Node) keep(applied, old *config.Config) []Waiting {
	waits := []Waiting{}
	now, before := reflect.ValueOf(applied).Elem(), reflect.ValueOf(old).Elem()
	for i := range now.NumField() {
		key, a, b := now.Type().Field(i).Tag.Get("yaml"), now.Field(i), before.Field(i)
		switch {
		case key == "" || key == "-" || slices.Contains(whole, key):
		case key == "switch":
			if !reflect.DeepEqual(withoutPasswords(applied.Switch), withoutPasswords(old.Switch)) {
				waits = append(waits, waiting(key))
				a.Set(b)
			}
		case a.Kind() == reflect.Struct && key != "admin":
			for _, kept := range config.Keep(a.Addr().Interface(), b.Addr().Interface(), n.applies(key, applied, old)...) {
				waits = append(waits, waiting(key+"."+kept))
			}
		case !reflect.DeepEqual(a.Interface(), b.Interface()):
			waits = append(waits, waiting(key))
			a.Set(b)
		}
	}
	if a, b := &applied.Sessions, &old.Sessions; b.Accounts == "" && !reflect.DeepEqual(a.Modes, b.Modes) { // applied has no other
		waits = append(waits, Waiting{"application-sessions", "the accounts are opened at the start"})
		a.Modes = b.Modes
	}
	for i, f := range applied.Fronts {
		for _, kept := range config.Keep(f.Settings, old.Fronts[i].Settings, "listen") {
			waits = append(waits, waiting(f.Name+"."+kept))
		}
	}
	return waits
}

// applies returns the keys below key that a reload from old to now applies.
func (n *Node) applies(key string, now, old *config.Config) []string {
	list := parts[key]
	switch key {
	case "digest":
		if n.digest || len(now.Digest.Users) == 0 {
			list = append(list, "users")
		}
	case "audit":
		if n.audit == nil || now.Audit.File == "" {
			return nil
		}
		if list = []string{"file", "max-mib", "keep"}; now.Audit.File != old.Audit.File {
			list = append(list, "key-file")
		}
	case "telephones":
		if n.phones == nil || len(now.Telephones.Listen) == 0 { // the server of telephones is built at the start only
			list = nil
		}
	}
	return list
}

// changedKeys returns the keys of the file whose values differ. Keys in parts are returned with the key below them.
func changedKeys(old, now *config.Config) []string {
	keys := []string{}
	a, b := reflect.ValueOf(now).Elem(), reflect.ValueOf(old).Elem()
	for i := range a.NumField() {
		key := a.Type().Field(i).Tag.Get("yaml")
		switch {
		case key == "" || key == "-" || key == "links" || key == "switch": // these have reports of their own
		case parts[key] != nil && key != "lines" || key == "digest" || key == "audit" || key == "operations":
			for _, part := range config.Changed(a.Field(i).Addr().Interface(), b.Field(i).Addr().Interface()) {
				keys = append(keys, key+"."+part)
			}
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			keys = append(keys, key)
		}
	}
	for name, mode := range now.Sessions.Modes {
		if old.Sessions.Modes[name] != mode {
			keys = append(keys, "application-sessions."+name)
		}
	}
	for i, f := range now.Fronts {
		for _, part := range config.Changed(f.Settings, old.Fronts[i].Settings) {
			keys = append(keys, f.Name+"."+part)
		}
	}
	return keys
}
