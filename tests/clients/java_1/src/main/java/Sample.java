import com.datastax.astra.client.Collection;
import com.datastax.astra.client.DataAPIClient;
import com.datastax.astra.client.DataAPIOptions;
import com.datastax.astra.client.Database;
import com.datastax.astra.client.model.CollectionOptions;
import com.datastax.astra.client.model.Document;
import com.datastax.astra.client.model.Filters;
import com.datastax.astra.client.model.FindOptions;
import com.datastax.astra.client.model.SimilarityMetric;
import com.datastax.astra.client.model.Update;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Vectorize with astra-db-java 1: a collection that embeds, texts inserted, texts found by meaning. */
public class Sample {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    DataAPIOptions options =
        DataAPIOptions.builder()
            .withDestination(DataAPIOptions.DataAPIDestination.valueOf(env.get("ENVIRONMENT")))
            .build();
    DataAPIClient client = new DataAPIClient(env.get("ORRERY_TOKEN"), options);
    Database database = client.getDatabase(env.get("ORRERY_URL"), "default_keyspace");

    Collection<Document> collection =
        database.createCollection(
            env.get("COLLECTION"),
            CollectionOptions.builder()
                .vectorDimension(Integer.parseInt(env.get("DIMENSION")))
                .vectorSimilarity(SimilarityMetric.COSINE)
                .vectorize(env.get("PROVIDER"), env.get("MODEL"), env.get("KEY_NAME"))
                .build());
    List<Document> documents = new ArrayList<>();
    for (Object item : new ObjectMapper().readValue(env.get("DOCUMENTS"), List.class)) {
      Map<?, ?> members = (Map<?, ?>) item;
      documents.add(
          new Document()
              .id(members.get("_id"))
              .vectorize((String) members.get("$vectorize"))
              .append("kind", members.get("kind")));
    }
    collection.insertOne(documents.get(0));
    collection.insertMany(documents.subList(1, documents.size()));

    List<Object> found = new ArrayList<>();
    List<Double> similarities = new ArrayList<>();
    FindOptions nearest = new FindOptions().sort(env.get("QUERY")).limit(3).includeSimilarity();
    for (Document document : collection.find(nearest)) {
      found.add(document.getId(Object.class));
      similarities.add(document.getSimilarity().orElseThrow());
    }
    Document filtered =
        collection.find(Filters.eq("kind", "food"), new FindOptions().sort(env.get("QUERY")).limit(1)).iterator().next();
    collection.updateOne(Filters.eq("_id", "cake"), new Update().set("$vectorize", env.get("NEW_TEXT")));
    Document updated = collection.find(new FindOptions().sort(env.get("NEW_QUERY")).limit(1)).iterator().next();
    collection.deleteOne(Filters.eq("_id", "goal"));

    Map<String, Object> result = new LinkedHashMap<>();
    result.put("found", found);
    result.put("similarities", similarities);
    result.put("filtered", filtered.getId(Object.class));
    result.put("updated", updated.getId(Object.class));
    result.put("count", collection.countDocuments(100));
    database.dropCollection(env.get("COLLECTION"));
    System.out.println(new ObjectMapper().writeValueAsString(result));
    System.exit(0);
  }
}
