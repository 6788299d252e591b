package config

import (
	_ "embed"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Model describes how telephones of one maker are commanded in addition to SIP.
type Model struct {
	Name     string   `yaml:"name"`
	Agent    string   `yaml:"agent"`
	Answer   *Notify  `yaml:"answer"`
	Resume   *Notify  `yaml:"resume"`
	Services []string `yaml:"services"`
	CSTA     string   `yaml:"csta"`
	Requests []string `yaml:"requests"`
	Idle     string   `yaml:"idle"`
	// Line and Account are provisioning lines, with the placeholders of [Place].
	Line    []string `yaml:"line"`    // for a line at the built-in switch
	Account []string `yaml:"account"` // for an account of its own at a link of type phones
}

// Notify is a NOTIFY outside a dialog that commands a telephone.
type Notify struct {
	Event string `yaml:"event"`
	Type  string `yaml:"type"`
	Body  string `yaml:"body"`
}

// Place is where a telephone registers, for its provisioning lines.
type Place struct {
	Number string // {number}: of the extension
	User   string // {user}: name of the account
	Server string // {server}: host
	Port   string // {port}
	Index  int    // {index}: number of the line or identity in the telephone
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// Fill returns provisioning lines with the values of a place. {password} becomes PASSWORD: it is for its
// administrator to write.
func (p Place) Fill(lines []string) []string {
	server := p.Server
	if strings.Contains(server, ":") { // IPv6
		server = "[" + server + "]"
	}
	values := strings.NewReplacer("{number}", p.Number, "{user}", p.User, "{password}", "PASSWORD", "{server}", server, "{port}", p.Port, "{index}", strconv.Itoa(p.Index))
	filled := make([]string, 0, len(lines))
	for _, line := range lines {
		filled = append(filled, values.Replace(line))
	}
	return filled
}

// modelRequests are the services that a row may let its telephones request.
var modelRequests = []string{
	"makeCall", "answerCall", "clearConnection", "holdCall", "retrieveCall", "consultationCall", "transferCall", "snapshotDevice",
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
		switch _, err := regexp.Compile(model.Agent); {
		case model.Agent == "":
			d.fault(key+".agent", "must be a regular expression for the header User-Agent; write for example \"(?i)^yealink\"")
		case err != nil:
			d.fault(key+".agent", "is not a regular expression of Go: "+err.Error())
		}
		if model.Name == "" {
			d.fault(key+".name", "is missing; write the name of the maker")
		}
		if model.CSTA != "" {
			d.oneOf(key+".csta", model.CSTA, "session", "notify", "info")
		}
		if model.Idle != "" {
			d.oneOf(key+".idle", model.Idle, "none", "terminated")
		}
		for j, service := range model.Services {
			if !uacsta.IsRequest(uacsta.MessageOf(service, false)) {
				d.fault(fmt.Sprintf("%s.services[%d]", key, j), fmt.Sprintf("is %q, which is no service; write a name as in GetCSTAFeatures, for example monitorStart", service))
			}
		}
		for j, service := range model.Requests {
			d.oneOf(fmt.Sprintf("%s.requests[%d]", key, j), service, modelRequests...)
		}
		for name, lines := range map[string][]string{"line": model.Line, "account": model.Account} {
			for j, line := range (Place{}).Fill(lines) {
				if unknown := placeholder.FindString(line); unknown != "" {
					d.fault(fmt.Sprintf("%s.%s[%d]", key, name, j), "has "+unknown+", which stands for nothing; write {number}, {user}, {password}, {server}, {port} or {index}")
				}
			}
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
