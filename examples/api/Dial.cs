// Has a telephone call a number.
//
//     dotnet run Dial.cs 100 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// It needs .NET 10, and no packages.
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

if (args.Length != 2)
{
    Console.Error.WriteLine("usage: Dial DEVICE NUMBER");
    return 1;
}
using var client = new HttpClient { BaseAddress = new Uri(Environment.GetEnvironmentVariable("TR87_URL") ?? "http://127.0.0.1:8880"), Timeout = TimeSpan.FromSeconds(40) };
if (Environment.GetEnvironmentVariable("TR87_TOKEN") is { Length: > 0 } token)
{
    client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
}
// The same Idempotency-Key at each attempt: however often it is sent, one call is placed.
client.DefaultRequestHeaders.Add("Idempotency-Key", Guid.NewGuid().ToString());
var problem = "";
for (var attempt = 0; attempt < 4; attempt++)
{
    var retry = TimeSpan.FromSeconds(1);
    try
    {
        // quotation marks cannot be in a JSON string as they are: a JsonObject escapes them
        using var body = new StringContent(new JsonObject { ["to"] = args[1] }.ToJsonString(), Encoding.UTF8, "application/json");
        using var response = await client.PostAsync($"/v1/devices/{Uri.EscapeDataString(args[0])}/calls", body);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        if (response.StatusCode == HttpStatusCode.Created)
        {
            Console.WriteLine($"call {answer["call"]}");
            return 0;
        }
        problem = (string?)answer["detail"] ?? response.ReasonPhrase;
        if (response.Headers.RetryAfter?.Delta is not { } wait)
        {
            break;
        }
        retry = wait;
    }
    catch (Exception e) when (e is HttpRequestException or TaskCanceledException or JsonException)
    {
        problem = e.Message;
    }
    await Task.Delay(retry);
}
Console.Error.WriteLine(problem);
return 1;
