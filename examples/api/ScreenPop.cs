// Prints who calls a telephone, as soon as it rings.
//
//     dotnet run ScreenPop.cs 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
// printed, too. It needs .NET 10, and no packages.
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;

if (args.Length != 1)
{
    Console.Error.WriteLine("usage: ScreenPop DEVICE");
    return 1;
}
var device = args[0];
var file = $"screenpop-{device}.position";
var after = File.Exists(file) ? File.ReadAllText(file).Trim() : "";
var silence = TimeSpan.FromSeconds(75); // the proxy sends a heartbeat every 30
using var client = new HttpClient { BaseAddress = new Uri(Environment.GetEnvironmentVariable("TR87_URL") ?? "http://127.0.0.1:8880"), Timeout = Timeout.InfiniteTimeSpan };
if (Environment.GetEnvironmentVariable("TR87_TOKEN") is { Length: > 0 } token)
{
    client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
}

while (true)
{
    try
    {
        await Follow();
    }
    catch (HttpRequestException problem) when (problem.StatusCode is >= HttpStatusCode.BadRequest and < HttpStatusCode.InternalServerError and not HttpStatusCode.TooManyRequests)
    {
        Console.Error.WriteLine(problem.Message); // it would be the same the next time
        return 1;
    }
    catch (Exception problem) when (problem is HttpRequestException or IOException or OperationCanceledException)
    {
        Console.Error.WriteLine($"no events: {problem.Message}");
    }
    await Task.Delay(2000);
}

// Follow handles the events of a stream, until it ends.
async Task Follow()
{
    using var stop = new CancellationTokenSource(silence);
    var query = $"devices={Uri.EscapeDataString(device)}&types=delivered,snapshot&snapshot=true" + (after == "" ? "" : $"&after={after}");
    using var response = await client.GetAsync($"/v1/events?{query}", HttpCompletionOption.ResponseHeadersRead, stop.Token);
    if (!response.IsSuccessStatusCode)
    {
        throw new HttpRequestException(await response.Content.ReadAsStringAsync(stop.Token), null, response.StatusCode);
    }
    using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(stop.Token));
    while (await lines.ReadLineAsync(stop.Token) is { } line)
    {
        stop.CancelAfter(silence);
        if (!line.StartsWith("data: "))
        {
            continue;
        }
        var e = JsonNode.Parse(line["data: ".Length..])!;
        Handle(e);
        var id = (string)e["id"]!;
        if (id != after) // only now: an event that was not handled comes again
        {
            after = id;
            File.WriteAllText(file + ".new", after);
            File.Move(file + ".new", file, true);
        }
    }
}

void Handle(JsonNode e)
{
    switch ((string)e["type"]!)
    {
        case "delivered" when (string?)e["state"] == "alerting":
            Show(e);
            break;
        case "snapshot": // the calls that there are, at the beginning and after a gap
            foreach (var call in e["calls"]!.AsArray().Where(call => (string?)call!["state"] == "alerting"))
            {
                Show(call!);
            }
            break;
        case "gap":
            Console.Error.WriteLine($"events are missing: {e["reason"]}");
            break;
    }
}

void Show(JsonNode call) => Console.WriteLine($"{(string?)call["caller"] ?? "somebody"} calls {device}");
