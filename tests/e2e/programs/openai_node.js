// The openai package of npm: a chat, its stream, a response, and the error for a model that is not there.
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
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const missing = await client.models.retrieve("nothing").catch((error) => error);
  const text = whole.choices[0].message.content;
  const error = { status: missing.status, code: missing.code, kind: missing.constructor.name };
  console.log(JSON.stringify({ text, streamed, pieces, response: response.output_text, models, error }));
}

main();
