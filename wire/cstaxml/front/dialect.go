package front

import (
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect says how the clients of one listener differ from others.
type Dialect struct {
	Port, TLSPort string               // of addresses without a port
	Greets        bool                 // the proxy speaks first: its clients wait for SystemStatus. They speak CSTA-XML with headers only
	Originate     uacsta.AutoOriginate // of a MakeCall without autoOriginate; "": the switch decides, and most prompt
}

// dialects are the known dialects, by their name in the configuration.
var dialects = map[string]Dialect{
	"plain":     {Port: "8882", TLSPort: "8883"},
	"openscape": {Port: "1040", TLSPort: "1040", Greets: true, Originate: uacsta.DoNotPrompt},
}

// DialectNames returns the names of the dialects, sorted.
func DialectNames() []string { return slices.Sorted(maps.Keys(dialects)) }

// dialectOf returns the dialect of a listener, by its keys in the configuration, which may be empty.
func dialectOf(name string, originate uacsta.AutoOriginate) Dialect {
	d := dialects[name]
	if originate != "" {
		d.Originate = originate
	}
	return d
}

// read brings a request of a client into the standard's form.
func (d *Dialect) read(req *uacsta.Message) {
	if d.Originate != "" && req.Name() == uacsta.NameMakeCall {
		req.Default("autoOriginate", string(d.Originate))
	}
}
