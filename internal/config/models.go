package config

import (
	_ "embed"
	"fmt"
	"os"
	"reflect"
	"regexp"
)

// Model describes how telephones of one maker are commanded in addition to SIP.
type Model struct {
	Name     string   `yaml:"name"`
	Agent    string   `yaml:"agent"`
	Answer   *Notify  `yaml:"answer"`
	Resume   *Notify  `yaml:"resume"`
	Services []string `yaml:"services"`
	CSTA     string   `yaml:"csta"`
	Idle     string   `yaml:"idle"`
}

// Notify is a NOTIFY outside a dialog that commands a telephone.
type Notify struct {
	Event string `yaml:"event"`
	Type  string `yaml:"type"`
	Body  string `yaml:"body"`
}

// models is the content of the file.
type models struct {
	Models []Model `yaml:"models"`
}

//go:embed models.yaml
var ownModels []byte

// Models returns the table of telephones: the rows of the file, unless its name is "", then the built-in ones.
func Models(file string) ([]Model, error) {
	own, err := parseModels("models.yaml", ownModels)
	if err != nil || file == "" {
		return own, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parseModels(file, data)
	return append(list, own...), err
}

func parseModels(file string, data []byte) ([]Model, error) {
	var m models
	d := decodeInto(file, data, reflect.ValueOf(&m).Elem(), Kinds{})
	for i, model := range m.Models {
		key := fmt.Sprintf("models[%d]", i)
		if _, err := regexp.Compile(model.Agent); model.Agent == "" || err != nil {
			d.fault(key+".agent", "must be a regular expression for the header User-Agent; write for example \"(?i)^yealink\"")
		}
		if model.CSTA != "" {
			d.oneOf(key+".csta", model.CSTA, "session", "notify")
		}
		if model.Idle != "" {
			d.oneOf(key+".idle", model.Idle, "none", "terminated")
		}
		for name, n := range map[string]*Notify{"answer": model.Answer, "resume": model.Resume} {
			if n != nil && (n.Event == "" || n.Type == "" || n.Body == "") {
				d.fault(key+"."+name, "needs event, type and body; write all three")
			}
		}
	}
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	return m.Models, nil
}
