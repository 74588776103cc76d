// The openai package of npm: a chat, its stream, its tool runner, a response, and an error.
"use strict";

const OpenAI = require("openai");

async function main() {
  const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
  const ask = { model: "talker", temperature: 0, messages: [{ role: "user", content: "Who are you?" }] };
  const whole = await client.chat.completions.create(ask);
  let streamed = "";
  let pieces = 0;
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
    pieces += 1;
  }
  const response = await client.responses.create({ model: "talker", temperature: 0, input: "Who are you?" });
  const runner = client.chat.completions.runTools({
    model: "talker",
    temperature: 0,
    messages: [{ role: "user", content: "What is the weather in Paris?" }],
    tools: [{
      type: "function",
      function: {
        name: "get_weather",
        description: "Get the weather of a city.",
        parse: JSON.parse,
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
        function: ({ city }) => ({ temperature: 18, sky: city === "Paris" ? "sunny" : "unknown" }),
      },
    }],
  });
  const run = await runner.finalContent();
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const missing = await client.models.retrieve("nothing").catch((error) => error);
  const text = whole.choices[0].message.content;
  const error = { status: missing.status, code: missing.code, kind: missing.constructor.name };
  console.log(JSON.stringify({ text, streamed, pieces, response: response.output_text, run, models, error }));
}

main();
