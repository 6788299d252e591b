package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pythonSocket is a client with python3-websockets. It watches 2000, calls it from 1000 over the same WebSocket, and asks by
// CSTA-XML.
const pythonSocket = `
import asyncio, json, sys, websockets

async def events(url):
    async with websockets.connect(url + "?devices=2000", subprotocols=["events"]) as ws:
        assert ws.subprotocol == "events", ws.subprotocol
        ready = json.loads(await ws.recv())
        assert ready["type"] == "ready" and ready["devices"] == ["2000"], ready
        await ws.send(json.dumps({"id": "1", "method": "POST", "path": "/v1/devices/1000/calls", "body": {"to": "2000"}}))
        types, call = [], None
        while "established" not in types or call is None:
            m = json.loads(await ws.recv())
            if "status" in m:
                assert m["id"] == "1" and m["status"] == 201, m
                call = m["body"]["call"]
            else:
                assert m["caller"] == "1000" and m["device"] == "2000", m
                types.append(m["type"])
        assert types == ["delivered", "established"], types
        await ws.send(json.dumps({"id": "2", "method": "POST", "path": "/v1/devices/1000/calls/%s/clear" % call}))
        while True:
            m = json.loads(await ws.recv())
            if m.get("type") == "connectionCleared" and m["state"] == "null":
                return

async def xml(url):
    async with websockets.connect(url, subprotocols=["csta-xml"]) as ws:
        assert ws.subprotocol == "csta-xml", ws.subprotocol
        for n in range(3):
            await ws.send('<GetDoNotDisturb xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>100%d</device></GetDoNotDisturb>' % n)
        for n in range(3):
            m = await ws.recv()
            assert "GetDoNotDisturbResponse" in m and "<doNotDisturbOn>false" in m, m

asyncio.run(asyncio.wait_for(events(sys.argv[1]), 60))
asyncio.run(asyncio.wait_for(xml(sys.argv[1]), 60))
print("done")
`

// nodeSocket is the same with the WebSocket of Node, which is that of browsers.
const nodeSocket = `
const url = process.argv[2]
const fail = (why) => { console.error(why); process.exit(1) }
setTimeout(() => fail("too late"), 60000)
const events = new WebSocket(url + "?devices=2000", ["events"])
const types = []
let call
events.onerror = (e) => fail(e.message)
events.onmessage = ({data}) => {
  const m = JSON.parse(data)
  if (m.type === "ready") {
    events.send(JSON.stringify({id: "1", method: "POST", path: "/v1/devices/1000/calls", body: {to: "2000"}}))
  } else if (m.status) {
    if (m.id === "1") {
      if (m.status !== 201) fail(data)
      call = m.body.call
    }
  } else {
    if (m.caller !== "1000" || m.device !== "2000") fail(data)
    types.push(m.type)
  }
  if (call && types.includes("established") && !types.includes("asked")) {
    types.push("asked")
    events.send(JSON.stringify({id: "2", method: "POST", path: "/v1/devices/1000/calls/" + call + "/clear"}))
  }
  if (m.type === "connectionCleared" && m.state === "null") {
    events.close(1000)
    xml()
  }
}
function xml() {
  const ws = new WebSocket(url, ["csta-xml"])
  ws.onerror = (e) => fail(e.message)
  ws.onopen = () => ws.send('<GetDoNotDisturb xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>1000</device></GetDoNotDisturb>')
  ws.onmessage = ({data}) => {
    if (!data.includes("GetDoNotDisturbResponse")) fail(data)
    console.log("done")
    process.exit(0)
  }
}
`

// Clients of other makes speak with the WebSocket: python3-websockets, and Node's own.
func TestForeignWebSockets(t *testing.T) {
	i := serveAPI(t)
	url := "ws://" + i.address + "/v1/events"
	t.Run("python3-websockets", func(t *testing.T) {
		python := pythonWith(t, "websockets")
		run(t, script(t, "client.py", pythonSocket), url, python)
	})
	t.Run("node", func(t *testing.T) {
		node := tool(t, "node")
		flags := []string{}
		if exec.Command(node, "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}").Run() != nil {
			if flags = append(flags, "--experimental-websocket"); exec.Command(node, append(flags, "-e", "WebSocket.name")...).Run() != nil {
				t.Skip("this node has no WebSocket")
			}
		}
		run(t, script(t, "client.js", nodeSocket), url, node, flags...)
	})
}

// pythonWith returns a Python that has a module; Debian's has those of Debian's packages.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import "+module).Run() == nil {
			return name
		}
	}
	return tool(t, "python3-"+module)
}

func script(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs a script with one argument; it must say that it is done.
func run(t *testing.T, file, argument, interpreter string, flags ...string) {
	t.Helper()
	p := start(t, interpreter, append(flags, file, argument)...)
	if err := p.wait(2 * patience); err != nil || !strings.Contains(p.out.String(), "done") {
		t.Errorf("%v\n%s", err, p.out)
	}
}
