"""How people ask about boxes, in our words: the wordings of the embedded default's training conversations (`embedded_mix`)."""

from __future__ import annotations

from collections.abc import Mapping

# Each role: how people ask. Evaluation has phrasings of its own that never stand here.
ASK: Mapping[str, tuple[str, ...]] = {
    "name": (
        "What is {a}?", "What is in {a}?", "Name the object in {a}.", "What does {a} show?", "Identify {a}.", "What object is {a}?", "Tell me what {a} is.",
        "What can you see in {a}?", "Which thing is marked as {a}?", "What do you see at {a}?", "what's {a}", "What kind of object is {a}?", "Label {a}.",
        "Could you tell me what {a} is?", "I drew {a}. What is it?", "{a}: what is this?", "Please name {a}.", "What is the thing in {a} called?",
        "Recognise the object in {a}.", "What is inside {a}?", "Say what {a} is in one or two words.", "What category does {a} belong to?", "hey, what is {a}?",
        "What is this? {a}", "Do you know what {a} is?", "What are we looking at in {a}?", "What has been boxed in {a}?",
        "Which object does {a} mark?", "What has been marked with {a}?", "The box {a} holds what?", "Give {a} a name.", "Could you name what {a} points to?",
        "What's the object at {a}?", "Which word describes {a}?", "What would you call {a}?", "What sort of thing is {a}?", "{a} is a picture of what?",
        "I wonder what {a} is.", "Can you recognise {a}?", "What did I draw a box around? {a}", "Tell me the name of the thing in {a}.", "Which thing lies inside {a}?",
        "What type of object can be found at {a}?", "Explain what {a} shows.", "What does the box {a} contain?", "What is pictured in {a}?", "Look at {a} and name it.",
        "What am I seeing in {a}?", "Whatever is in {a}, name it.", "Classify {a}.", "Assign a category to {a}.", "Guess what {a} is.", "I need a label for {a}.",
        "which object is at {a}", "What item is in {a}?", "Name that thing: {a}", "I put a box at {a}. What does it hold?", "{a} marks a thing. What thing?",
        "What stands in {a}?",
    ),
    "name_next": ("And {a}?", "What about {a}?", "And what is {a}?", "How about {a}?", "Now {a}.", "Then {a}?", "Same for {a}.", "And in {a}?"),
    "yes_no": (
        "Is {a} {x}?", "Is that {x} in {a}?", "Does {a} show {x}?", "Can {x} be seen in {a}?", "Would you say {a} is {x}?", "Is there {x} in {a}?",
        "Is the object in {a} {x}?", "Does {a} contain {x}?", "I think {a} is {x}. Am I right?", "Is it true that {a} is {x}?", "{a} is {x}, isn't it?",
        "Do you see {x} in {a}?", "Could {a} be {x}?",
        "Is {x} what {a} shows?", "Am I looking at {x} in {a}?", "Could this be {x}? {a}", "Check whether {a} is {x}.", "Do you agree that {a} is {x}?",
        "Someone says {a} is {x}. Is that right?", "Is {x} the right name for {a}?", "Has {a} got {x} in it?", "Confirm that {a} is {x}.",
        "It looks like {a} is {x}, right?", "Yes or no: is {a} {x}?", "Answer yes or no. Is {a} {x}?", "Is it correct to call {a} {x}?", "Does the box {a} hold {x}?",
        "Can I say that {a} is {x}?", "Is what you see in {a} {x}?", "{a}: is it {x}?", "Is {x} inside {a}?", "Would it be right to say {a} shows {x}?",
        "I believe {a} is {x}; do you agree?", "Please verify: {a} is {x}.", "is {a} {x}",
    ),
    "colour": (
        "What color is {a}?", "What colour is {a}?", "Which color is {a} mostly?", "What is the main color of {a}?", "What colors does {a} have?",
        "Name the dominant color of {a}.", "Tell me the color of {a}.", "What is the color of the object in {a}?", "How is {a} colored?", "Describe the color of {a}.",
        "What shade is {a}?", "Which colors do you see in {a}?", "and what colour is {a}", "Give the dominant colour in {a}.",
        "What is the colour of {a}?", "Which colour do you see most in {a}?", "Say which color {a} has.", "In what color is {a}?",
        "Is there a main color in {a}? Which one?", "What colour would you say {a} is?", "Color of {a}?", "Describe {a} by its color.", "Which colors make up {a}?",
        "What color does {a} have?", "How would you describe the color of {a}?", "Which colour covers most of {a}?", "The object in {a} is of which color?",
        "Tell me what colour {a} is.", "I want to know the color of {a}.", "What colour is shown in {a}?", "Give me the colors of {a}.", "{a}: which color?",
        "What does {a} look like in terms of color?",
    ),
    "left": (
        "Which is further left, {a} or {b}?", "Which one is on the left, {a} or {b}?", "Of {a} and {b}, which is more to the left?", "Which of {a} and {b} is on the left side?",
        "Between {a} and {b}, what is leftmost?", "Who is on the left: {a} or {b}?",
        "Which region lies more to the left, {a} or {b}?", "Is it {a} or {b} that is further left?", "Which of the two is left of the other: {a} or {b}?",
        "{a} or {b}: which is on the left?", "Tell me which is further to the left, {a} or {b}.", "{a} and {b}: name the one further left.",
        "Say which of {a} and {b} lies more left.", "Compare the places of {a} and {b}: which is more to the left?", "Point out the left one of {a} and {b}.",
    ),
    "right": (
        "Which is further right, {a} or {b}?", "Which one is on the right, {a} or {b}?", "Of {a} and {b}, which is more to the right?", "Which of {a} and {b} is on the right side?",
        "Between {a} and {b}, what is rightmost?",
        "Which region lies more to the right, {a} or {b}?", "Is it {a} or {b} that is further right?", "Which of the two is right of the other: {a} or {b}?",
        "{a} or {b}: which is on the right?", "Tell me which is further to the right, {a} or {b}.", "{a} and {b}: name the one further right.",
        "Say which of {a} and {b} lies more right.", "Compare the places of {a} and {b}: which is more to the right?", "Point out the right one of {a} and {b}.",
    ),
    "above": (
        "Which is higher up, {a} or {b}?", "Which one is above the other, {a} or {b}?", "Of {a} and {b}, which is closer to the top?", "Which of {a} and {b} is higher in the picture?",
        "Between {a} and {b}, what is on top?",
        "Is it {a} or {b} that is higher?", "{a} or {b}: which is higher?", "Tell me which is higher in the picture, {a} or {b}.", "Say which of {a} and {b} lies higher.",
        "Which region is above the other one: {a} or {b}?", "{a} and {b}: name the higher one.", "Point out which of {a} and {b} is more towards the top.",
        "Compare the places of {a} and {b}: which is higher?",
    ),
    "below": (
        "Which is lower, {a} or {b}?", "Which one is below the other, {a} or {b}?", "Of {a} and {b}, which is closer to the bottom?", "Which of {a} and {b} is lower in the picture?",
        "Is it {a} or {b} that is lower?", "{a} or {b}: which is lower?", "Tell me which is lower in the picture, {a} or {b}.", "Say which of {a} and {b} lies lower.",
        "Which region is below the other one: {a} or {b}?", "{a} and {b}: name the lower one.", "Point out which of {a} and {b} is more towards the bottom.",
        "Compare the places of {a} and {b}: which is lower?",
    ),
    "larger": (
        "Which is larger, {a} or {b}?", "Which one is bigger, {a} or {b}?", "Of {a} and {b}, which takes up more space?", "Which of {a} and {b} covers more of the picture?",
        "Compare the size of {a} and {b}: which is larger?", "Is {a} or {b} bigger?",
        "Tell me which is larger, {a} or {b}.", "{a} or {b}: which is the bigger one?", "Is it {a} or {b} that is larger?", "Which of the two boxes is larger: {a} or {b}?",
        "Name the bigger of {a} and {b}.", "Say which of {a} and {b} is larger in the picture.", "Which has the bigger size, {a} or {b}?",
        "Point out the larger one of {a} and {b}.",
    ),
    "smaller": (
        "Which is smaller, {a} or {b}?", "Of {a} and {b}, which takes up less space?", "Which of {a} and {b} is the smaller one?", "Is {a} or {b} smaller?",
        "Tell me which is smaller, {a} or {b}.", "{a} or {b}: which is the smaller one?", "Is it {a} or {b} that is smaller?",
        "Which of the two boxes is smaller: {a} or {b}?", "Name the smaller of {a} and {b}.", "Say which of {a} and {b} is smaller in the picture.",
        "Which has the smaller size, {a} or {b}?", "Point out the smaller one of {a} and {b}.",
    ),
    "is_left": (
        "Is {a} to the left of {b}?", "Is {a} left of {b}?", "Does {a} lie to the left of {b}?", "Is {a} further left than {b}?", "Can {a} be found on the left of {b}?",
        "Do you see {a} to the left of {b}?", "Is {a} on the left side of {b}?", "Is it true that {a} is left of {b}?", "Check whether {a} is to the left of {b}.",
        "Is {a} more to the left than {b}?", "Would you say {a} is further left than {b}?", "Yes or no: {a} lies left of {b}.",
    ),
    "is_right": (
        "Is {a} to the right of {b}?", "Is {a} right of {b}?", "Does {a} lie to the right of {b}?", "Is {a} further right than {b}?",
        "Do you see {a} to the right of {b}?", "Is {a} on the right side of {b}?", "Is it true that {a} is right of {b}?", "Check whether {a} is to the right of {b}.",
        "Is {a} more to the right than {b}?", "Would you say {a} is further right than {b}?", "Yes or no: {a} lies right of {b}.",
    ),
    "is_above": (
        "Is {a} above {b}?", "Is {a} higher than {b}?", "Does {a} lie above {b}?", "Is {a} over {b}?", "Is {a} nearer to the top than {b}?",
        "Is it true that {a} is above {b}?", "Check whether {a} is above {b}.", "Would you say {a} lies higher than {b}?", "Yes or no: {a} is above {b}.",
        "Is {a} in a higher place than {b}?", "Do you see {a} above {b}?", "Is {a} placed higher than {b}?",
    ),
    "is_below": (
        "Is {a} below {b}?", "Is {a} lower than {b}?", "Does {a} lie below {b}?", "Is {a} under {b}?", "Is {a} nearer to the bottom than {b}?",
        "Is it true that {a} is below {b}?", "Check whether {a} is below {b}.", "Would you say {a} lies lower than {b}?", "Yes or no: {a} is below {b}.",
        "Is {a} in a lower place than {b}?", "Do you see {a} below {b}?", "Is {a} placed lower than {b}?",
    ),
    "is_larger": (
        "Is {a} larger than {b}?", "Is {a} bigger than {b}?", "Does {a} cover more of the picture than {b}?", "Is the size of {a} greater than that of {b}?",
        "Is it true that {a} is bigger than {b}?", "Check whether {a} is larger than {b}.", "Would you say {a} is the bigger of the two, next to {b}?",
        "Yes or no: {a} is larger than {b}.", "Is {a} bigger in size than {b}?", "Compared with {b}, is {a} larger?",
    ),
    "is_smaller": (
        "Is {a} smaller than {b}?", "Does {a} take up less room than {b}?", "Is {a} the smaller one compared to {b}?",
        "Is it true that {a} is smaller than {b}?", "Check whether {a} is smaller than {b}.", "Would you say {a} is the smaller of the two, next to {b}?",
        "Yes or no: {a} is smaller than {b}.", "Is {a} smaller in size than {b}?", "Compared with {b}, is {a} smaller?",
    ),
    "where": (
        "Where is {a} relative to {b}?", "How does {a} lie with respect to {b}?", "Where is {a} compared to {b}?", "What is the position of {a} relative to {b}?",
        "Describe where {a} is in relation to {b}.", "In which direction from {b} is {a}?",
        "Tell me where {a} is, seen from {b}.", "On which side of {b} is {a}?", "Seen from {b}, where is {a}?", "Where do I find {a}, starting from {b}?",
    ),
    "size": (
        "How large is {a} next to {b}?", "How big is {a} compared to {b}?", "Compare {a} with {b} in size.", "What is the size of {a} relative to {b}?",
        "Next to {b}, how large is {a}?", "How does {a} compare with {b} in size?", "Tell me how big {a} is beside {b}.", "Say how {a} compares in size to {b}.",
    ),
    "same": (
        "Are {a} and {b} the same kind of thing?", "Do {a} and {b} show the same kind of object?", "Is {a} the same kind of thing as {b}?", "Are {a} and {b} of the same kind?",
        "Do {a} and {b} belong to the same category?", "Are both {a} and {b} the same sort of object?",
        "Is it true that {a} and {b} are the same kind of thing?", "Do {a} and {b} hold the same thing?", "Is what is in {a} the same as what is in {b}?",
        "Are {a} and {b} alike, I mean the same kind of object?", "Do {a} and {b} have the same name?", "Are {a} and {b} two of a kind?",
        "Is the object in {a} of the same kind as the one in {b}?", "Check whether {a} and {b} are the same kind of thing.", "Yes or no: {a} and {b} are of one kind.",
    ),
    "compare": ("Compare {a} and {b}.", "What is the difference between {a} and {b}?", "How do {a} and {b} differ?", "Tell me how {a} and {b} compare."),
    "place": (
        "Where in the picture is {a}?", "In which part of the picture is {a}?", "Where can {a} be found?", "Locate {a} in words.", "Which corner or side is {a} in?",
        "Is {a} at the top, the bottom, the left or the right?", "Tell me where {a} is.", "In what part is {a}?", "Where do I find {a} in the picture?", "Where is {a}?",
        "State the position of {a}.", "Where does {a} lie?",
    ),
    "describe": (
        "Describe {a}.", "Describe {a} in a sentence.", "Tell me about {a}.", "Give a short description of {a}.", "What can you say about {a}?", "Write a caption for {a}.",
        "Say something about {a}.", "What does {a} look like?", "I want a description of {a}.", "Give me details of {a}.",
    ),
    "list": ("Name all the regions.", "What are the marked regions?", "List what each region shows.", "Go through the regions and name them.", "What did I mark?"),
    "count": ("How many of the marked regions show {x}?", "How many regions are {x}?", "Count the regions that show {x}."),
    "else": ("What else is in the picture?", "What other things can be seen?", "Is there anything else in the picture?", "What is there besides {a}?", "What is around {a}?"),
    "picture": ("Describe the picture.", "What is happening in this picture?", "Give a caption for the whole picture.", "What does the picture show?", "What is this a picture of?"),
    "side": ("And the one on its {side}?", "What is to the {side} of it?", "And what is on its {side}?", "What about the one to the {side}?"),
    "reads": (
        "What does the text on {a} say?", "Read the writing in {a}.", "What is written on {a}?", "Which words are printed on {a}?", "What number is on {a}?",
        "Can you read the label of {a}?", "What does the sign in {a} say?", "What is the licence plate of {a}?",
    ),
    "unknowable": (
        "What is the name of the person in {a}?", "How old is {a}?", "How much did {a} cost?", "Who owns {a}?", "What brand is {a}?", "When was {a} made?", "How heavy is {a}?",
        "What is {a} thinking about?", "What time was the picture of {a} taken?", "In which city is {a}?", "What does {a} smell like?", "Where was {a} bought?",
        "What will {a} do tomorrow?", "What is the phone number of {a}?", "Who took the photo of {a}?", "What is the favourite food of {a}?", "Which year was {a} photographed?",
        "What sound does {a} make right now?", "What is the temperature of {a}?", "How fast is {a} going?", "What happened to {a} yesterday?", "What is behind {a} that we cannot see?",
        "What is the job of the person in {a}?", "How many calories does {a} have?", "Who made {a}?", "What is the serial number of {a}?",
    ),
}  # fmt: skip
# More of the same with [alternatives|in brackets], for training alone: many wordings of one question teach that the wording does not matter.
PATTERNS: Mapping[str, tuple[str, ...]] = {
    "colour": (
        "[Which|What] [color|colour|shade|tone|tint] [is most common|is most frequent|appears most|shows up most|is strongest|comes first] [in|inside|within] {a}?",
        "[Which|What] [color|colour|tone|tint] [makes up|takes up|accounts for] [most|the largest part|the greater part|the bulk|the majority] of {a}?",
        "[Tell me|Say|State|Report|Write down|Mention|Find|Determine] the [main|dominant|most common|primary|chief|leading|strongest|overall] [color|colour|shade|tone] [of|in|inside] {a}.",
        "[What is|What's|Which is] the [main|dominant|most common|primary|predominant|leading|overall|general] [color|colour|shade|tone|tint] [of|in|inside|seen in] {a}?",
        "[Someone|My sister|A friend|A child] asks [which|what] [color|colour] {a} [has|is]. [What do I say?|Your answer?|What should I answer?]",
        "[As for|Regarding|Speaking of|With regard to|Concerning] [color|colour|the colors], [what is|how is|what can you say about] {a}?",
        "[Sum up|Describe|Give|Summarise|Report] the [coloring|colouring|colors|colours|palette|tones] of {a}[| in a few words| briefly| for me].",
        "[What|Which] [colors|colours|tones|shades] [stand out|catch the eye|can be seen|are visible|are there|are present|are found] in {a}?",
        "[I need|Please give me|Could you give me|Can you tell me|Let me know|I am looking for] the [color|colour] of [|the thing in |what is in |the object in ]{a}[.|, please.]",
        "{a}[: |, | - ][its color?|color?|main colour?|what is its colour?|which shade?|which tone?]", "[Is there|Do you see|Can you spot] a [main|leading|clear] [color|tone] in {a}, and [which|what is it]?",
        "The [object|thing|item|area|part] [in|inside|marked by] {a} [is colored how|is of what color|has which color|looks what color]?",
        "I am [blind|color-blind|colour-blind|not near the screen]. [What|Which] [color|colour] [is|has] {a}?",
        "[How|In which way] [is|was] {a} [colored|coloured|tinted]?", "[Color|Colour|Shade] of [the thing in |what is in |]{a}[|, please|, in a word]?",
    ),
    "left": ("[Which|What] of {a} and {b} [has|takes] the [leftmost|left] [place|position]?", "[Going|Reading|Moving] from the left side, [which|what] do I [meet|reach] first, {a} or {b}?"),
    "right": ("[Which|What] of {a} and {b} [has|takes] the [rightmost|right] [place|position]?", "[Going|Reading|Moving] from the right side, [which|what] do I [meet|reach] first, {a} or {b}?"),
    "above": ("[Which|What] of {a} and {b} [has|takes] the [topmost|top|higher] [place|position]?", "[Going|Moving] down from the top, [which|what] do I [meet|reach] first, {a} or {b}?"),
    "below": ("[Which|What] of {a} and {b} [has|takes] the [lowest|bottom|lower] [place|position]?", "[Going|Moving] up from the bottom, [which|what] do I [meet|reach] first, {a} or {b}?"),
    "larger": ("[Which|What] is [the bigger region|the larger region|the bigger box|the larger one|of greater size]: {a} or {b}?", "[Which|What] [fills|takes] more [space|room|of the photo], {a} or {b}?"),
    "smaller": ("[Which|What] is [the smaller region|the smaller box|the tinier one|the lesser one|of lesser size]: {a} or {b}?", "[Which|What] [fills|takes] less [space|room|of the photo], {a} or {b}?"),
    "is_larger": ("[Does|Would] {a} [fill|take] more [space|room|of the photo] than {b}?", "Is {a} [the bigger region|the larger box|of greater size|a bigger area], [compared to|next to|against] {b}?"),
    "is_smaller": ("[Does|Would] {a} [fill|take] less [space|room|of the photo] than {b}?", "Is {a} [the smaller region|the smaller box|of lesser size|a smaller area], [compared to|next to|against] {b}?"),
    "is_above": ("[Is|Lies] {a} [further up|closer to the top|nearer the top] [than|compared to] {b}?",),
    "is_below": ("[Is|Lies] {a} [further down|closer to the bottom|nearer the bottom] [than|compared to] {b}?",),
    "same": ("[Are|Would you call] {a} and {b} [things|objects] [of one sort|of the same sort|of one type|of the same class]?", "[Do|Would] {a} and {b} [share|have] [one name|a category|the same label|the same class]?"),
}  # fmt: skip
# What people put around a question.
OPENERS = (
    "Please: ", "Tell me: ", "Hello! ", "Hi. ", "Question: ", "One more thing. ", "Look closely. ", "I am curious. ", "Be honest. ", "In short: ", "Next question. ",
    "Okay. ", "Now: ", "Can you help me? ", "I have a question. ", "Let us see. ", "Sorry to ask, but ", "As far as you can see, ", "Just wondering: ", "For my notes: ",
)  # fmt: skip
CLOSERS = (
    " Thanks.", " Please answer briefly.", " Keep it short.", " Any idea?", " Please.", " I need to know.", " Just the answer.", " Thank you!", " Take a look.", " Be brief.",
    " I cannot see it well.", " What do you think?",
)  # fmt: skip
REFUSALS = ("I cannot tell that from {a}.", "I cannot know that from {a}.", "That cannot be seen in {a}, so I cannot say.")
CANNOT_READ = ("I cannot read that from {a}.", "I cannot read the writing in {a}.")
