package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Device is a device of a switch.
type Device struct {
	Device     string       `json:"device" doc:"its number" example:"101"`
	Name       string       `json:"name,omitempty" doc:"as the switch has it"`
	Kind       string       `json:"kind,omitempty" doc:"its category: station, acd, group, networkInterface …" example:"station"`
	Model      string       `json:"model,omitempty"`
	State      string       `json:"state,omitempty" enum:"idle,ringing,busy" doc:"absent if the switch does not say"`
	Link       string       `json:"link" doc:"the link that serves it"`
	Available  bool         `json:"available" doc:"whether the link is up"`
	Can        []string     `json:"can" doc:"the services that the device supports and you may use"`
	Forwarding []Forwarding `json:"forwarding,omitempty"`
	// Pointers: absent if the switch does not say.
	DoNotDisturb   *bool   `json:"doNotDisturb,omitempty"`
	MessageWaiting *bool   `json:"messageWaiting,omitempty"`
	Agents         []Agent `json:"agents,omitempty"`

	Telephones []Telephone `json:"telephones,omitempty" doc:"the telephones that have registered for it at the built-in switch"`

	services []string // that the device supports and the client may use
}

// Telephone is a telephone behind a device.
type Telephone struct {
	Agent     string `json:"agent,omitempty" doc:"what it says it is" example:"Yealink SIP-T46S 66.86.0.15"`
	Reachable bool   `json:"reachable"`
}

// Forwarding is one setting that forwards calls.
type Forwarding struct {
	Type string `json:"type" example:"forwardImmediate"`
	On   bool   `json:"on"`
	To   string `json:"to,omitempty" example:"102"`
}

// Agent is an agent at a device.
type Agent struct {
	Agent    string       `json:"agent,omitempty"`
	LoggedOn bool         `json:"loggedOn"`
	Groups   []AgentGroup `json:"groups"`
}

// AgentGroup is an agent's state in a group.
type AgentGroup struct {
	Group string `json:"group,omitempty"`
	State string `json:"state,omitempty" example:"agentReady"`
}

// DeviceList is a page of devices.
type DeviceList struct {
	Devices []Device `json:"devices"`
	Links   []Link   `json:"links" doc:"whose devices are in the list, and whose are not"`
	Next    string   `json:"next,omitempty" doc:"give it as page to get the devices that follow; absent at the end"`
}

// Link is a link as a list of devices has it.
type Link struct {
	Name   string `json:"name" example:"pbx"`
	State  string `json:"state" enum:"up,down"`
	Listed bool   `json:"listed" doc:"whether its devices are listed. If not, it is down, too slow, or its switch does not list devices: those whose numbers you know can be used"`
}

type listInput struct {
	Filter  string `query:"filter" doc:"patterns of devices, separated by commas" example:"1*,200-299"`
	Kind    string `query:"kind" doc:"only devices of this category" example:"station"`
	Page    string `query:"page" doc:"next of the page before"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Details bool   `query:"details" doc:"with state, forwarding, do not disturb, message waiting and agents of each"`
}

type devicePath struct {
	Device string `path:"device" doc:"a number, as you write it" example:"101" maxLength:"128"`
}

type body[T any] struct{ Body T }

func (s *Server) describeDevices() {
	huma.Register(s.api, huma.Operation{
		OperationID: "listDevices", Method: http.MethodGet, Path: "/v1/devices", Summary: "List the devices that you may observe", Tags: []string{"devices"},
	}, s.listDevices)
	for _, p := range s.api.OpenAPI().Paths["/v1/devices"].Get.Parameters {
		if p.Name == "kind" {
			for _, kind := range deviceKinds() {
				p.Schema.Enum = append(p.Schema.Enum, kind)
			}
			p.Schema.PrecomputeMessages() // of the refusal of others
		}
	}
	huma.Register(s.api, huma.Operation{
		OperationID: "getDevice", Method: http.MethodGet, Path: "/v1/devices/{device}", Summary: "Show a device", Tags: []string{"devices"},
	}, func(ctx context.Context, in *devicePath) (*body[Device], error) {
		ctx, cancel := s.patience(ctx)
		defer cancel()
		d, err := s.device(clientOf(ctx), in.Device)
		if err != nil {
			return nil, s.explain(ctx, in.Device, err)
		}
		if err := s.detail(ctx, clientOf(ctx), &d); err != nil {
			return nil, s.explain(ctx, in.Device, err)
		}
		return &body[Device]{d}, nil
	})
}

// patience limits how long a request waits for a switch.
func (s *Server) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.settings.RequestTimeout)
}

func (s *Server) listDevices(ctx context.Context, in *listInput) (*body[DeviceList], error) {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	patterns, err := patterns(in.Filter)
	if err != nil {
		return nil, err
	}
	after, err := afterPage(in.Page)
	if err != nil {
		return nil, err
	}
	c := clientOf(ctx)
	for i, text := range patterns {
		if v, err := c.session.View(text); err == nil && !isPattern(text) { // a number in another spelling than that of the list
			patterns[i] = v.Device
		}
	}
	all, listed, err := c.devices(ctx, in.Kind, patterns)
	if err != nil {
		return nil, s.explain(ctx, "", err)
	}
	from, _ := slices.BinarySearchFunc(all, after, func(d uacsta.DeviceListItem, after string) int {
		return cmp.Or(cmp.Compare(d.DeviceID.ID, after), -1)
	})
	out := DeviceList{Devices: []Device{}, Links: s.links(listed)}
	for i, item := range all[from:] {
		if i == in.Limit {
			out.Next = pageMark + all[from+i-1].DeviceID.ID
			break
		}
		d, err := s.device(c, item.DeviceID.ID)
		if err != nil {
			continue // it has gone
		}
		d.Kind, d.Model = string(item.DeviceCategory), item.DeviceModelName
		if in.Details && s.detail(ctx, c, &d) != nil {
			continue
		}
		out.Devices = append(out.Devices, d)
	}
	return &body[DeviceList]{out}, nil
}

// links returns the links. listed are those whose devices are listed.
func (s *Server) links(listed []string) []Link {
	links := s.proxy.Status().Links
	list := make([]Link, 0, len(links))
	for _, l := range links {
		state := "down"
		if l.Up {
			state = "up"
		}
		list = append(list, Link{l.Name, state, slices.Contains(listed, l.Name)})
	}
	return list
}

// pageMark precedes the last device of a page in the name of the next one.
const pageMark = "after:"

// afterPage returns the device after which a page begins; "" for the first page.
func afterPage(page string) (string, error) {
	device, ok := strings.CutPrefix(page, pageMark)
	if page != "" && (!ok || device == "") {
		return "", problem(http.StatusUnprocessableEntity, "page %.64q is none: give next of the page before, or leave it out", page)
	}
	return device, nil
}

// deviceKinds are the values of kind: the categories that devices have, and those by which a switch can be asked for them.
func deviceKinds() []string {
	kinds := slices.Concat(uacsta.ValuesOf("DeviceCategory"), uacsta.ValuesOf("ReqDeviceCategory"))
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// devices returns the devices that the client may observe and that match, ordered, and the links that have listed theirs.
func (c *client) devices(ctx context.Context, category string, patterns []string) (all []uacsta.DeviceListItem, links []string, err error) {
	var asked uacsta.ReqDeviceCategory
	if slices.Contains(uacsta.ValuesOf("ReqDeviceCategory"), category) {
		asked = uacsta.ReqDeviceCategory(category)
	}
	wanted := policy.CompileDevices(patterns)
	fits := func(d uacsta.DeviceListItem) bool {
		other := asked == "" && category != "" && string(d.DeviceCategory) != category
		return d.DeviceID != nil && !other && (patterns == nil || wanted.Match(d.DeviceID.ID))
	}
	list := ""
	ref := func(res *uacsta.Message) string { list = res.Text("serviceCrossRefID"); return list }
	err = c.list(ctx, uacsta.GetSwitchingFunctionDevices{RequestedDeviceCategory: asked}, ref, func(m *uacsta.Message) (bool, error) {
		var segment uacsta.SwitchingFunctionDevices
		err := m.Decode(&segment)
		for _, d := range segment.DeviceList {
			if fits(d) {
				all = append(all, d)
			}
		}
		return segment.LastSegment, err
	})
	links = c.session.Listed(list)
	slices.SortFunc(all, func(a, b uacsta.DeviceListItem) int { return cmp.Compare(a.DeviceID.ID, b.DeviceID.ID) })
	return slices.CompactFunc(all, func(a, b uacsta.DeviceListItem) bool { return a.DeviceID.ID == b.DeviceID.ID }), links, err
}

// device returns what the core knows of a device.
func (s *Server) device(c *client, number string) (Device, error) {
	v, err := c.view(number)
	if err != nil {
		return Device{}, err
	}
	d := Device{Device: number, Name: v.Name, Link: v.Link.Name, Available: v.Link.Up, Can: actionsOf(v.Features.Services), services: v.Features.Services}
	for _, t := range v.Telephones {
		d.Telephones = append(d.Telephones, Telephone{t.Agent, t.Reachable})
	}
	return d, nil
}

// detail asks the switch for what else there is to say of a device, by the services that the client may use. What the
// switch does not say is left out. The error is that of a device that it does not have.
func (s *Server) detail(ctx context.Context, c *client, d *Device) error {
	id := uacsta.Dev(d.Device)
	ask := func(req, into any) error { return c.about(ctx, d, req, into) }
	if err := c.kind(ctx, d); err != nil {
		return err
	}
	if calls, err := c.calls(ctx, d.Device); err == nil {
		d.State = "idle"
		for _, info := range calls {
			switch stateOf(info) {
			case string(uacsta.Alerting):
				if d.State == "idle" {
					d.State = "ringing"
				}
			case string(uacsta.Null):
			default:
				d.State = "busy"
			}
		}
	}
	var forwarding uacsta.GetForwardingResponse
	if ask(uacsta.GetForwarding{Device: id}, &forwarding) == nil {
		for _, f := range forwarding.ForwardingList {
			to := ""
			if f.ForwardDN != nil {
				to = f.ForwardDN.ID
			}
			d.Forwarding = append(d.Forwarding, Forwarding{string(f.ForwardingType), f.ForwardStatus, to})
		}
	}
	var quiet uacsta.GetDoNotDisturbResponse
	if ask(uacsta.GetDoNotDisturb{Device: id}, &quiet) == nil {
		d.DoNotDisturb = &quiet.DoNotDisturbOn
	}
	var waiting uacsta.GetMessageWaitingIndicatorResponse
	if ask(uacsta.GetMessageWaitingIndicator{Device: id}, &waiting) == nil {
		d.MessageWaiting = &waiting.MessageWaitingOn
	}
	var agents uacsta.GetAgentStateResponse
	if ask(uacsta.GetAgentState{Device: id}, &agents) == nil {
		for _, a := range agents.AgentStateList {
			entry := Agent{Agent: a.AgentID, LoggedOn: a.LoggedOnState, Groups: []AgentGroup{}}
			for _, g := range a.AgentInfo {
				group := ""
				if g.AcdGroup != nil {
					group = g.AcdGroup.ID
				}
				entry.Groups = append(entry.Groups, AgentGroup{group, string(g.AgentState)})
			}
			d.Agents = append(d.Agents, entry)
		}
	}
	return nil
}

// about asks a switch about a device, if the device supports it and the client may.
func (c *client) about(ctx context.Context, d *Device, req, into any) error {
	m := uacsta.Encode(req, uacsta.Edition6)
	if !slices.Contains(d.services, m.Name()) {
		return errUnasked
	}
	res, err := c.do(ctx, m)
	if err != nil {
		return err
	}
	return res.Decode(into)
}

// kind asks for the kind of a device, if it is not known. The error is that of a device that the switch does not have.
func (c *client) kind(ctx context.Context, d *Device) error {
	if d.Kind != "" {
		return nil
	}
	var info uacsta.GetLogicalDeviceInformationResponse
	err := c.about(ctx, d, uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev(d.Device)}, &info)
	var refusal *uacsta.Error
	if errors.As(err, &refusal) && refusal.Value == uacsta.InvalidDeviceID {
		return err
	}
	d.Kind = string(info.DeviceCategory)
	return nil
}

// errUnasked is why a device is not asked.
var errUnasked = errors.New("the device does not support the service, or the client may not use it")
